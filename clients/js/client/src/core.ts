// The client with maps, presence and channels. `annulus.ts` has the rest.

import { Channel, type ChannelOptions } from './channel'
import type { Connection, ConnectionState, Identity, Token } from './connection/connection'
import { type SocketConstructor, socketFrom } from './connection/socket'
import type { DirectEvents } from './directs'
import { call, Emitter, type Unsubscribe } from './emitter'
import { Engine, type Extras, type InvalidValue, type Offline, type Rejection } from './engine'
import type { AnnulusError } from './errors'
import { type Filter, filterOf, type Selection } from './maps/filter'
import { PlainMap } from './maps/map'
import type { AnyView } from './maps/view'
import { Room } from './room'
import type { AckLevel, Incoming, Json, MapType } from './wire'

export interface Options {
  /** A JSON Web Token or an API key, or who fetches one: asked before each attempt, and when one is about to expire. */
  token?: Token
  /** Where writes and replicas outlast this client: `indexedDb(name)`, `fileStore(path)`. Else they are in memory. */
  offline?: Offline
  /** Where there is no standard WebSocket, as in Node 20: the `WebSocket` of `ws`. */
  webSocket?: SocketConstructor
  /** How far writes must have come; else `memory`, and `durable` for what is written without a connection. */
  ack?: AckLevel
  /** Connect by oneself, with `connect()`. */
  autoConnect?: boolean
}

export interface MapOptions<T> extends Selection {
  /** Makes what the application has of a value, or throws; then the value is not shown, and told by `invalid`. */
  parse?: (value: unknown) => T
}

export interface Events extends DirectEvents {
  /** Told now and with each change, also by `subscribe`. */
  state: ConnectionState
  /** Who the server takes this client for. */
  identity: Identity
  /** A write that the server has refused. */
  rejected: Rejection
  /** A value that `parse` did not take. */
  invalid: InvalidValue
  /** So many writes wait for the server. */
  pending: number
  /** What the server says to whoever comes (docs/messaging.md). */
  welcome: Json
  /** What has gone wrong beside requests, which reject: a subscription, a token, the store. */
  error: AnnulusError<string>
}

export class Annulus extends Emitter<Events> {
  /** @internal */
  readonly engine: Engine
  readonly #connection: Connection
  readonly #views = new Map<string, AnyView>()
  readonly #rooms = new Map<string, Room<never>>()
  readonly #channels = new Map<string, Channel<never>>()

  /** `url`: such as `wss://sync.example/v1`. */
  constructor(url: string, options: Options = {}, extras: Extras = {}) {
    super()
    this.engine = new Engine({
      url,
      open: socketFrom(options.webSocket),
      token: options.token,
      ack: options.ack,
      offline: options.offline,
      extras,
    })
    this.#connection = this.engine.connection
    this.#connection.on('hello', () => {
      for (const room of this.#rooms.values()) room.connected()
      for (const channel of this.#channels.values()) channel.connected()
    })
    this.#connection.on('message', message => this.message(message))
    this.#connection.on('identity', identity => this.emit('identity', identity))
    this.#connection.on('state', state => {
      if (state === 'offline' || state === 'closed') {
        for (const room of this.#rooms.values()) room.interrupted()
        for (const channel of this.#channels.values()) channel.interrupted()
      }
      this.emit('state', state)
    })
    for (const name of ['error', 'rejected', 'invalid', 'pending'] as const) {
      this.engine.on(name, event => this.emit(name, event as never))
    }
    this.engine.talks = { room: name => this.room(name), channel: name => this.channel(name) }
    this.engine.begin(options.autoConnect !== false)
  }

  /** The name of this client in stamps. */
  get node(): string {
    return this.engine.clock.node
  }

  get state(): ConnectionState {
    return this.#connection.state
  }

  /** Why it is `closed`, if not by `close()`. */
  get error(): AnnulusError<string> | null {
    return this.#connection.error
  }

  /** Who the server takes this client for; `null`: it has not said, or it is nobody in particular. */
  get identity(): Identity | null {
    return this.#connection.identity
  }

  /** How many writes wait for the server. */
  get pending(): number {
    return this.engine.outbox.size
  }

  /** The time of the server in Unix milliseconds, as far as it is known. */
  now(): number {
    return this.engine.now()
  }

  /** Calls the listener now, and whenever the state of the connection changes. */
  subscribe(listener: (state: ConnectionState) => void): Unsubscribe {
    call(() => listener(this.state))
    return this.on('state', listener)
  }

  /** Values by key, of which the last that was written stays. The same object for the same name and keys. */
  map<T = Json>(name: string, options: MapOptions<T> = {}): PlainMap<T> {
    return this.view(name, 'lww', options, (filter, feed) => {
      return new PlainMap<T>(name, filter, feed.replica, this.engine, options.parse)
    })
  }

  /** Who is there, each with a small state. */
  room<S = Json>(name: string): Room<S> {
    let room = this.#rooms.get(name) as Room<S> | undefined
    if (!room) this.#rooms.set(name, (room = new Room<S>(name, this.#connection)) as unknown as Room<never>)
    return room
  }

  /** Messages to all who are there. `options` count for who asks for it first. */
  channel<D = Json>(name: string, options?: ChannelOptions): Channel<D> {
    let channel = this.#channels.get(name) as Channel<D> | undefined
    if (!channel) {
      channel = new Channel<D>(name, this.#connection, options)
      this.#channels.set(name, channel as unknown as Channel<never>)
    }
    return channel
  }

  /**
   * Connects now: after `disconnect()`, instead of waiting for the next attempt, or after the server has closed it for
   * a reason that is gone.
   */
  connect(): void {
    this.#connection.connect()
  }

  /** Stays offline until `connect()`. What is written waits. */
  disconnect(): void {
    this.#connection.disconnect()
  }

  /** Resolves once all that was written is in the store, and rejects where that fails. */
  saved(): Promise<void> {
    return this.engine.lasting?.saved() ?? Promise.resolve()
  }

  /**
   * Ends it for good. What the server has yet to take rejects with `closed`, and stays in the store for the next
   * client. Resolves once the store is closed.
   */
  close(): Promise<void> {
    return this.#close(false)
  }

  /** Ends it for good, and removes all that the store has, as when somebody logs out. */
  erase(): Promise<void> {
    return this.#close(true)
  }

  async #close(isErased: boolean): Promise<void> {
    this.#connection.close()
    await this.engine.lasting?.close(isErased)
  }

  /** @internal */
  protected view<V extends AnyView>(
    name: string,
    type: MapType,
    selection: Selection,
    make: (filter: Filter, feed: ReturnType<Engine['feed']>) => V,
  ): V {
    const filter = filterOf(selection)
    const id = JSON.stringify([name, filter])
    const feed = this.engine.feed(name, type)
    const known = this.#views.get(id)
    if (known && feed.views.has(known)) return known as V
    const view = make(filter, feed)
    this.#views.set(id, view)
    feed.views.add(view)
    view.begin()
    feed.wanted()
    return view
  }

  /** @internal */
  protected message(message: Incoming): void {
    const { type, room, channel } = message
    if (typeof room === 'string') this.#rooms.get(room)?.message(message)
    else if (typeof channel === 'string') this.#channels.get(channel)?.message(message)
    else if (type === 'welcome') this.emit('welcome', message.data)
    else if (type === 'error' && message.map === undefined) this.engine.fault(message)
  }
}
