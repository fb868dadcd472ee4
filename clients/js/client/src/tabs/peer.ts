// One of the other tabs, as the leader sees it.

import type { Engine } from '../engine'
import { AnnulusError } from '../errors'
import type { AckLevel, Incoming, MapType, Operation } from '../wire'
import { PeerMap } from './peermap'
import { PeerQueries } from './peerqueries'

export class Peer {
  readonly #maps = new Map<string, PeerMap>()
  readonly #rooms = new Set<string>()
  readonly #channels = new Set<string>()
  readonly #queries: PeerQueries
  isGreeted = false
  #isClosed = false

  constructor(
    private readonly engine: Engine,
    private readonly say: (text: string) => void,
  ) {
    const tell = (message: object) => this.tell(message)
    this.#queries = new PeerQueries(engine.connection, tell, (id, error) => this.#refuse(id, error))
  }

  /** There is a connection. */
  hello(): void {
    const { hello, connection } = this.engine
    if (this.isGreeted || !hello) return
    this.isGreeted = true
    this.tell({ ...hello, time: `${this.engine.now()}:0:${hello.node}` })
    const { identity } = connection
    if (!identity) return
    const { user, roles, expiresAt } = identity
    this.tell({ type: 'authenticated', user, roles, expires_at: expiresAt })
  }

  handle(message: Incoming, mapType: MapType | undefined): void {
    const { type, id, map, room, channel, query } = message
    if (type === 'ping') this.tell({ type: 'pong', id, time: `${this.engine.now()}:0:${this.engine.hello?.node}` })
    else if (type === 'subscribe' && query !== undefined) this.#queries.subscribe(message)
    else if (type === 'subscribe') this.#subscribe(message, mapType)
    else if (type === 'unsubscribe') {
      if (query !== undefined) this.#queries.unsubscribe(query)
      else {
        this.#maps.get(map)?.close()
        this.#maps.delete(map)
      }
      this.tell({ type: 'unsubscribed', id, map })
    } else if (type === 'write') void this.#write(message)
    else if (type === 'presence.leave') {
      this.#leaveRoom(room)
      this.tell({ type: 'presence.left', id, room })
    } else if (type === 'join') void this.#join(message)
    else if (type === 'leave') {
      this.#leaveChannel(channel)
      this.tell({ type: 'left', id, channel })
    } else {
      if (type === 'presence.join' || type === 'presence.watch') this.#enterRoom(room)
      this.#forward(message)
    }
  }

  /** The server has said something that answers nothing. */
  pushed(message: Incoming): void {
    const { type, room, channel } = message
    if (this.isGreeted) this.#queries.pushed(message)
    const isMine =
      typeof room === 'string'
        ? this.#rooms.has(room)
        : typeof channel === 'string'
          ? this.#channels.has(channel)
          : type === 'direct' || type === 'queue.dropped'
    if (isMine && this.isGreeted) this.tell(message)
  }

  close(): void {
    this.#isClosed = true
    for (const map of this.#maps.values()) map.close()
    this.#queries.close()
    for (const room of [...this.#rooms]) this.#leaveRoom(room)
    for (const channel of [...this.#channels]) this.#leaveChannel(channel)
  }

  tell(message: object): void {
    if (!this.#isClosed) this.say(JSON.stringify(message))
  }

  #subscribe(message: Incoming, mapType: MapType | undefined): void {
    const { id, map, prefix = '', keys } = message
    this.#maps.get(map)?.close()
    try {
      const filter = keys ? { keys: keys as string[] } : { prefix: prefix as string }
      const tell = (message: object) => this.tell(message)
      this.#maps.set(map, new PeerMap(this.engine.feed(map, mapType ?? 'lww'), filter, { id }, tell))
    } catch (error) {
      this.#refuse(id, error)
    }
  }

  async #write(message: Incoming): Promise<void> {
    const ops = message.ops as Operation[]
    const level = message.ack as AckLevel
    const rejected: object[] = []
    await Promise.all(
      ops.map((op, index) =>
        this.engine.relay(op, level).catch(error => {
          const { code, message, retryAfterMs } = error as AnnulusError<string>
          rejected.push({ index, code, message, retry_after_ms: retryAfterMs })
        }),
      ),
    )
    this.tell({ type: 'ack', id: message.id, level, applied: ops.length - rejected.length, rejected })
  }

  #forward({ id, ...message }: Incoming): void {
    if (id === undefined) {
      this.engine.connection.send(message)
      return
    }
    this.engine.connection.ask(message, (error, answer) => {
      if (answer) this.tell({ ...answer, id })
      else this.#refuse(id, error)
    })
  }

  #refuse(id: number | undefined, error: unknown): void {
    const { code, message, retryAfterMs } = error as AnnulusError<string>
    if (code !== 'connection_lost') this.tell({ type: 'error', id, code, message, retry_after_ms: retryAfterMs })
  }

  #enterRoom(name: string): void {
    if (this.#rooms.has(name)) return
    this.#rooms.add(name)
    this.engine.talks?.room(name).pin()
  }

  #leaveRoom(name: string): void {
    if (this.#rooms.delete(name)) this.engine.talks?.room(name).unpin()
  }

  #leaveChannel(name: string): void {
    if (this.#channels.delete(name)) this.engine.talks?.channel(name).unpin()
  }

  /** The leader is in the channel for all tabs; what this one has missed it is told from the history. */
  async #join(message: Incoming): Promise<void> {
    const { id, channel: name, since } = message
    const channel = this.engine.talks?.channel(name)
    if (!channel) return
    if (!this.#channels.has(name)) {
      this.#channels.add(name)
      channel.pin()
    }
    try {
      const { epoch, offset } = await channel.place()
      const answer = { type: 'joined', id, channel: name, epoch, offset }
      if (since === undefined) return this.tell(answer)
      if (since.epoch !== epoch) return this.tell({ ...answer, recovered: false, reason: 'epoch' })
      const missed = offset - since.offset
      const { messages } =
        missed > 0 ? await channel.history({ before: offset + 1, limit: Math.min(missed, 1000) }) : { messages: [] }
      for (const { from, ...rest } of messages) {
        if (rest.offset > since.offset)
          this.tell({ type: 'message', channel: name, ...rest, ...(from === null ? {} : { from }) })
      }
      const isWhole = missed <= 0 || messages[0]?.offset === since.offset + 1
      this.tell({ ...answer, recovered: isWhole, ...(isWhole ? {} : { reason: 'trimmed' }) })
    } catch (error) {
      this.#refuse(id, error instanceof AnnulusError ? error : new AnnulusError('timeout', `${error}`))
    }
  }
}
