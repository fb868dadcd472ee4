// Messages from one user to another, or to many (docs/messaging.md, Direct messages).

import { plain } from './canonical'
import type { Connection } from './connection/connection'
import type { Emitter } from './emitter'
import type { AckLevel, Incoming, Json } from './wire'

export interface DirectMessage {
  /** Names it for good. Those to many have none. */
  message: string | null
  from: string | null
  data: Json
  /** Unix milliseconds of the server. */
  time: number
  /** It has waited. */
  queued: boolean
  /** `all` or `role:<name>`, for those to many. */
  to: string | null
}

export interface Sent {
  status: 'delivered' | 'queued' | 'refused'
  message: string | null
  reason?: string
  /** Of those to many: how many connections have taken it. */
  count?: number
}

export interface SendOptions {
  ttlMs?: number
  ack?: AckLevel
}

export interface DirectEvents {
  /** A message for this user, each once. */
  direct: DirectMessage
  /** So many messages were lost to the limits of the queue. */
  dropped: { count: number }
}

/** Names of messages that were shown, as they come again until they are acknowledged. */
const SHOWN_MAX = 1000

export class Directs {
  readonly #shown = new Set<string>()

  constructor(
    readonly connection: Connection,
    private readonly events: Emitter<DirectEvents>,
  ) {}

  send(to: string, data: unknown, options: SendOptions = {}): Promise<Sent> {
    const { ttlMs, ack } = options
    const message = {
      type: 'send',
      to,
      data: plain(data),
      ...(ttlMs === undefined ? {} : { ttl_ms: ttlMs }),
      ...(ack === undefined ? {} : { ack }),
    }
    return this.connection.request(message).then(({ status, message, reason, count }) => ({
      status: status ?? 'delivered',
      message: message ?? null,
      ...(reason === undefined ? {} : { reason }),
      ...(count === undefined ? {} : { count }),
    }))
  }

  message(incoming: Incoming): void {
    if (incoming.type === 'queue.dropped') return this.events.emit('dropped', { count: incoming.count })
    // Without anybody to show it to it stays unacknowledged, and comes again.
    if (!this.events.has('direct')) return
    const { message = null, from = null, data, time, queued = false, to = null } = incoming
    if (message !== null) {
      if (!this.#shown.has(message)) {
        this.#shown.add(message)
        for (const old of this.#shown) {
          if (this.#shown.size <= SHOWN_MAX) break
          this.#shown.delete(old)
        }
        this.events.emit('direct', { message, from, data, time, queued, to })
      }
      this.connection.send({ type: 'direct.ack', through: message })
    } else {
      this.events.emit('direct', { message, from, data, time, queued, to })
    }
  }
}

/** Somebody to write to. */
export class Recipient {
  constructor(
    /** `user:<name>`, `role:<name>` or `all`. */
    readonly to: string,
    protected readonly directs: Directs,
  ) {}

  /** Needs a connection, and rejects with `connection_lost` without one. */
  send(data: unknown, options?: SendOptions): Promise<Sent> {
    return this.directs.send(this.to, data, options)
  }
}

export class User extends Recipient {
  constructor(
    readonly name: string,
    directs: Directs,
  ) {
    super(`user:${name}`, directs)
  }

  /** Neither is sent the other's messages any more. */
  async block(): Promise<void> {
    await this.directs.connection.request({ type: 'block', user: this.name })
  }

  async unblock(): Promise<void> {
    await this.directs.connection.request({ type: 'unblock', user: this.name })
  }
}
