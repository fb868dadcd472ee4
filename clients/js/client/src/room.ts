// Who is in a room, each with a small state (docs/messaging.md, Presence).

import { compareText, plain } from './canonical'
import type { Connection } from './connection/connection'
import { errorOf } from './connection/requests'
import { call, type Unsubscribe } from './emitter'
import { AnnulusError } from './errors'
import type { Incoming, Json, WireMember } from './wire'

/** A user, however many connections it has, or a connection of nobody in particular. */
export interface Member<S = Json> {
  /** Its name in the room. */
  member: string
  user: string | null
  connections: number
  state: S
  /** When it came, in Unix milliseconds. */
  since: number
  /** Its connection is gone, and it may come back. */
  away: boolean
}

/** The server tells others once in so long; what changes in between is sent as one. */
const UPDATE_MS = 50

export class Room<S = Json> {
  #joined: { state: S | undefined; graceMs: number | undefined } | null = null
  #isWatched = false
  #members = new Map<string, Member<S>>()
  #list: readonly Member<S>[] | null = null
  #others: { of: readonly Member<S>[]; list: readonly Member<S>[] } | null = null
  #count = 0
  #self: string | null = null
  #error: AnnulusError<string> | null = null
  readonly #listeners = new Set<(room: this) => void>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #sentAt = 0
  /** Other tabs that are in the room through this one's connection. */
  #pins = 0

  constructor(
    readonly name: string,
    private readonly connection: Connection,
  ) {}

  /** Who is here, by the order of their names. Empty in rooms so large that they are only counted, see `list`. */
  get members(): readonly Member<S>[] {
    this.#list ??= [...this.#members.values()].sort((a, b) => compareText(a.member, b.member))
    return this.#list
  }

  /** All but oneself; the same list until somebody changes, as `members`. */
  get others(): readonly Member<S>[] {
    const { members } = this
    if (this.#others?.of !== members) {
      this.#others = { of: members, list: members.filter(({ member }) => member !== this.#self) }
    }
    return this.#others.list
  }

  /** Oneself, once the server has said so. */
  get self(): Member<S> | undefined {
    return this.#self === null ? undefined : this.#members.get(this.#self)
  }

  get count(): number {
    return this.#count
  }

  /** Why one is not in the room any more, if the server has said so. */
  get error(): AnnulusError<string> | null {
    return this.#error
  }

  /** Joins, now and on every connection to come, until `leave`. */
  join(state?: S, options: { graceMs?: number } = {}): this {
    this.#joined = { state: state === undefined ? undefined : plain(state), graceMs: options.graceMs }
    this.#enter()
    return this
  }

  /** Hears of the room without being in it. */
  watch(): this {
    this.#isWatched = true
    if (!this.#joined) this.#enter()
    return this
  }

  /** Takes another state. Many at once are sent as one. */
  update(state: S): void {
    if (!this.#joined) throw new AnnulusError('not_joined', `join the room ${this.name} first`)
    this.#joined.state = plain(state)
    if (this.#timer !== undefined) return
    const wait = Math.max(0, this.#sentAt + UPDATE_MS - Date.now())
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#sentAt = Date.now()
      if (this.#joined) this.connection.send({ type: 'presence.update', room: this.name, state: this.#joined.state })
    }, wait)
  }

  leave(): void {
    if (!this.#joined && !this.#isWatched) return
    this.#joined = null
    this.#isWatched = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#left()
    this.#reset()
    this.#tell()
  }

  /** @internal */
  pin(): void {
    this.#pins += 1
  }

  /** @internal */
  unpin(): void {
    this.#pins -= 1
    this.#left()
  }

  /** Members in the order of their names, page by page. */
  async list(after = '', limit = 100): Promise<{ members: Member<S>[]; more: boolean }> {
    const answer = await this.connection.request({ type: 'presence.list', room: this.name, after, limit })
    return { members: answer.members as Member<S>[], more: answer.more as boolean }
  }

  /** Calls the listener now and after each change, with this room. */
  subscribe(listener: (room: this) => void): Unsubscribe {
    const own = (room: this) => listener(room)
    this.#listeners.add(own)
    call(() => own(this))
    return () => this.#listeners.delete(own)
  }

  /** @internal There is a connection. */
  connected(): void {
    if (this.#joined || this.#isWatched) this.#enter()
  }

  /** @internal The connection is gone: nobody knows who is here. */
  interrupted(): void {
    if (this.#members.size === 0 && this.#count === 0) return
    this.#reset()
    this.#tell()
  }

  /** @internal */
  message(message: Incoming): void {
    if (!this.#joined && !this.#isWatched) return
    if (message.type === 'presence.diff') {
      for (const member of [...message.joined, ...message.updated] as WireMember<S>[])
        this.#members.set(member.member, member)
      for (const name of message.left as string[]) this.#members.delete(name)
      this.#count = message.count
    } else if (message.type === 'presence.state') {
      this.#state(message)
    } else if (message.type === 'presence.count') {
      this.#members.clear()
      this.#count = message.count
    } else if (message.type === 'error') {
      this.#joined = null
      this.#isWatched = false
      this.#reset()
      this.#error = errorOf(message as never)
    } else return
    this.#list = null
    this.#tell()
  }

  #enter(): void {
    const joined = this.#joined
    const message = joined
      ? {
          type: 'presence.join',
          room: this.name,
          ...(joined.state === undefined ? {} : { state: joined.state }),
          ...(joined.graceMs === undefined ? {} : { grace_ms: joined.graceMs }),
        }
      : { type: 'presence.watch', room: this.name }
    this.#error = null
    this.connection.ask(message, (error, answer) => {
      if (answer) this.message(answer)
      else if (error && error.code !== 'connection_lost' && error.code !== 'cancelled') {
        this.#error = error
        this.#tell()
      }
    })
  }

  #state(message: Incoming): void {
    this.#members = new Map((message.members as WireMember<S>[] | undefined)?.map(member => [member.member, member]))
    this.#count = message.count
    if (message.member !== undefined) this.#self = message.member
  }

  /** Somebody has left; the last one leaves the room. */
  #left(): void {
    if (this.#pins === 0 && !this.#joined && !this.#isWatched) {
      this.connection.send({ type: 'presence.leave', room: this.name })
    }
  }

  #reset(): void {
    this.#members.clear()
    this.#list = null
    this.#count = 0
    this.#self = null
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) call(() => listener(this))
  }
}
