// What is said in a channel, in one order, and the last of it for who was away (docs/messaging.md, Channels).

import { plain } from './canonical'
import type { Connection } from './connection/connection'
import { errorOf } from './connection/requests'
import { call, Emitter, type Unsubscribe } from './emitter'
import type { AnnulusError } from './errors'
import type { AckLevel, Incoming, Json, WireMessage } from './wire'

export interface ChannelMessage<D = Json> {
  offset: number
  /** The user who has said it; `null`: somebody who has not said who it is. */
  from: string | null
  data: D
  /** Unix milliseconds of the server. */
  time: number
}

export interface ChannelOptions {
  /** How many of the last messages `messages` has (100). */
  keep?: number
}

interface Events<D> {
  /** Each message once, in order, from when one is in the channel. */
  message: ChannelMessage<D>
  /** Messages that were missed and are not kept any more, so that nobody can be sent them. */
  gap: { reason: 'trimmed' | 'epoch' | 'slow' }
  error: AnnulusError<string>
}

export class Channel<D = Json> extends Emitter<Events<D>> {
  readonly #keep: number
  #isJoined = false
  /** Other tabs that are in the channel through this one's connection. */
  #pins = 0
  /** Whether what the epoch and the offset say is of this connection. */
  #isPlaced = false
  readonly #waiting: (() => void)[] = []
  #epoch: string | null = null
  /** The last offset that was told, in `#epoch`. */
  #offset = 0
  #messages: readonly ChannelMessage<D>[] = []
  #error: AnnulusError<string> | null = null
  readonly #listeners = new Set<(channel: this) => void>()

  constructor(
    readonly name: string,
    private readonly connection: Connection,
    options: ChannelOptions = {},
  ) {
    super()
    this.#keep = options.keep ?? 100
  }

  /** The last messages, the oldest first; another list whenever there is another message. */
  get messages(): readonly ChannelMessage<D>[] {
    return this.#messages
  }

  /** Why one is not in the channel any more, if the server has said so. */
  get error(): AnnulusError<string> | null {
    return this.#error
  }

  /** Is in the channel from now on, on every connection to come, until `leave`. */
  join(): this {
    if (!this.#isJoined) {
      this.#isJoined = true
      if (this.#pins === 0) this.#enter()
    }
    return this
  }

  leave(): void {
    if (!this.#isJoined) return
    this.#isJoined = false
    this.#left()
  }

  /** @internal */
  pin(): void {
    this.#pins += 1
    if (this.#pins === 1 && !this.#isJoined) this.#enter()
  }

  /** @internal */
  unpin(): void {
    this.#pins -= 1
    this.#left()
  }

  /** @internal Up to where it was told, once it is in the channel. */
  async place(): Promise<{ epoch: string; offset: number }> {
    while (!this.#isPlaced) await new Promise<void>(resolve => this.#waiting.push(resolve))
    return { epoch: this.#epoch as string, offset: this.#offset }
  }

  /** @internal The connection is gone. */
  interrupted(): void {
    this.#isPlaced = false
  }

  /**
   * Says something, and resolves with its offset. It is not kept for later: without a connection, or if that ends
   * before the answer, it rejects with `connection_lost`, and may have been said in the second case.
   */
  publish(data: D, options: { ack?: AckLevel } = {}): Promise<number> {
    const message = { type: 'publish', channel: this.name, data: plain(data), echo: true, ...options }
    return this.connection.request(message).then(answer => answer.offset as number)
  }

  /** Messages before an offset, the oldest first. */
  async history(
    options: { before?: number; limit?: number } = {},
  ): Promise<{ messages: ChannelMessage<D>[]; more: boolean }> {
    const answer = await this.connection.request({ type: 'history', channel: this.name, ...options })
    return { messages: (answer.messages as WireMessage[]).map(read<D>), more: answer.more as boolean }
  }

  /** Joins, calls the listener now, and after each change of `messages`, with this channel. The last that ends leaves. */
  subscribe(listener: (channel: this) => void): Unsubscribe {
    const own = (channel: this) => listener(channel)
    this.#listeners.add(own)
    this.join()
    call(() => own(this))
    return () => {
      if (this.#listeners.delete(own) && this.#listeners.size === 0 && !this.has('message')) this.leave()
    }
  }

  /** @internal There is a connection. */
  connected(): void {
    if (this.#isJoined || this.#pins > 0) this.#enter()
  }

  /** @internal */
  message(message: Incoming): void {
    if (!this.#isJoined && this.#pins === 0) return
    if (message.type === 'message') this.#add([message as unknown as WireMessage])
    else if (message.type === 'gap') this.#gap(message.to)
    else if (message.type === 'error') this.#failed(errorOf(message as never))
  }

  /** Somebody has left; the last one leaves the channel. */
  #left(): void {
    if (this.#isJoined || this.#pins > 0) return
    this.#isPlaced = false
    this.connection.send({ type: 'leave', channel: this.name })
  }

  #enter(): void {
    this.#error = null
    const since = this.#epoch === null ? {} : { since: { epoch: this.#epoch, offset: this.#offset } }
    this.connection.ask({ type: 'join', channel: this.name, ...since }, (error, answer) => {
      if (error) {
        if (error.code !== 'connection_lost' && error.code !== 'cancelled') this.#failed(error)
        return
      }
      const isNew = this.#epoch === null
      this.#epoch = answer?.epoch
      const isRecovered = !isNew && answer?.recovered === true
      if (!isRecovered) this.#offset = answer?.offset
      this.#isPlaced = true
      for (const resolve of this.#waiting.splice(0)) resolve()
      if (isRecovered) return
      if (!isNew) this.emit('gap', { reason: answer?.reason })
      // What was said before one came is shown, and is news to nobody.
      void this.history({ limit: Math.min(this.#keep, 1000) }).then(
        ({ messages }) =>
          this.#show(isNew ? [...messages, ...this.#messages] : [...messages, ...this.#after(messages)]),
        (error: AnnulusError) => error.code !== 'connection_lost' && this.emit('error', error),
      )
    })
  }

  /** Messages up to `to` were not sent, as this connection was too slow; they may be kept. */
  #gap(to: number): void {
    const from = this.#offset
    this.#offset = to
    void this.history({ before: to + 1, limit: Math.min(1000, to - from) }).then(
      ({ messages }) => {
        const missed = messages.filter(({ offset }) => offset > from)
        for (const message of missed) this.emit('message', message)
        this.#show([...this.#messages, ...missed])
        if (missed[0]?.offset !== from + 1) this.emit('gap', { reason: 'slow' })
      },
      () => this.emit('gap', { reason: 'slow' }),
    )
  }

  #add(messages: WireMessage[]): void {
    const fresh = messages.filter(({ offset }) => offset > this.#offset).map(read<D>)
    if (fresh.length === 0) return
    this.#offset = (fresh[fresh.length - 1] as ChannelMessage<D>).offset
    for (const message of fresh) this.emit('message', message)
    this.#show([...this.#messages, ...fresh])
  }

  #after(messages: ChannelMessage<D>[]): ChannelMessage<D>[] {
    const last = messages[messages.length - 1]?.offset ?? 0
    return this.#messages.filter(({ offset }) => offset > last && offset > this.#offset)
  }

  /** Shows the last of these, in order and each once. */
  #show(messages: ChannelMessage<D>[]): void {
    const byOffset = new Map(messages.map(message => [message.offset, message]))
    this.#messages = [...byOffset.values()].sort((a, b) => a.offset - b.offset).slice(-this.#keep)
    for (const listener of [...this.#listeners]) call(() => listener(this))
  }

  #failed(error: AnnulusError<string>): void {
    this.#error = error
    if (error.code === 'forbidden') this.#isJoined = false
    this.emit('error', error)
    for (const listener of [...this.#listeners]) call(() => listener(this))
  }
}

function read<D>({ offset, from, data, time }: WireMessage): ChannelMessage<D> {
  return { offset, from: from ?? null, data: data as D, time }
}
