// Keeps replicas, outbox, store and connection together: what is written goes through here, and what the server says.

import type { Channel } from './channel'
import { HybridClock, randomName } from './clock'
import { Connection, type Token } from './connection/connection'
import { errorOf } from './connection/requests'
import type { OpenSocket } from './connection/socket'
import { Emitter } from './emitter'
import { AnnulusError } from './errors'
import { Feed } from './feeds'
import type { Lasting } from './lasting'
import { Batch } from './maps/batch'
import type { Counting } from './maps/counting'
import { lwwRules } from './maps/lww'
import type { MapHost, WriteOptions } from './maps/map'
import { Replica } from './maps/replica'
import type { Rules } from './maps/rules'
import type { AnyView } from './maps/view'
import { Outbox, type Write } from './outbox'
import type { Room } from './room'
import type { Store } from './store/store'
import type { Tabs } from './tabs/tabs'
import type { AckLevel, Entry, Hello, Incoming, MapType, Operation } from './wire'

/** A write that the server has refused. What it changed on the screen is undone. */
export interface Rejection {
  map: string
  key: string
  operation: Operation
  error: AnnulusError<string>
}

/** A value that `parse` did not take. It is not shown. */
export interface InvalidValue {
  map: string
  key: string
  value: unknown
  error: unknown
}

interface Events {
  error: AnnulusError<string>
  rejected: Rejection
  invalid: InvalidValue
  pending: number
}

export interface EngineOptions {
  url: string
  open: OpenSocket
  token: Token | undefined
  ack: AckLevel | undefined
  offline: Offline | undefined
  extras: Extras
}

/** Where a client keeps what must outlast it, and who keeps it there. */
export interface Offline {
  readonly store: Store
  readonly Lasting: typeof Lasting
  /** How tabs that share the store share one connection. */
  readonly Tabs?: typeof Tabs
}

/** What only some applications use, so that the others need not load it. */
export interface Extras {
  or?: Rules<never, never>
  Counting?: typeof Counting
}

/** What a message may have before the server has said. */
const MESSAGE_BYTES = 1 << 20

const TYPES: { [op in Operation['op']]: MapType } = {
  set: 'lww',
  delete: 'lww',
  add: 'or',
  remove: 'or',
  increment: 'counter',
}

export class Engine extends Emitter<Events> implements MapHost {
  readonly batch = new Batch()
  readonly clock = new HybridClock(randomName())
  readonly connection: Connection
  readonly outbox: Outbox
  readonly feeds = new Map<string, Feed>()
  readonly counting: Counting | null
  readonly #waiters = new Set<{ map: string; resolve(): void; reject(error: Error): void }>()
  hello: Hello | null = null
  /** The rooms and channels of the client. */
  talks: { room(name: string): Room; channel(name: string): Channel } | null = null
  readonly lasting: Lasting | null
  #nextSeq = 1

  constructor(private readonly options: EngineOptions) {
    super()
    this.lasting = options.offline ? new options.offline.Lasting(this, options.offline, options.open) : null
    this.connection = new Connection(
      options.url,
      this.lasting ?? { open: options.open, isRelayed: false },
      options.token,
    )
    this.outbox = new Outbox({
      connection: this.connection,
      messageBytes: () => this.hello?.limits.message_bytes ?? MESSAGE_BYTES,
      taken: write => this.#taken(write),
      rejected: (write, error) => this.#rejected(write, error),
      restamp: writes => this.#restamp(writes),
    })
    const { Counting } = options.extras
    this.counting = Counting
      ? new Counting({
          connection: this.connection,
          batch: work => this.batch.run(work),
          name: this.clock.node,
          retentionMs: () => this.hello?.tombstone_retention_ms,
          changed: slot => this.lasting?.slot(slot),
        })
      : null
    this.connection.on('hello', hello => this.#opened(hello))
    this.connection.on('message', message => this.#message(message))
    this.connection.on('error', error => this.emit('error', error))
    this.connection.on('state', state => {
      if (state === 'offline' || state === 'closed') this.#interrupted()
      if (state === 'closed') this.#ended()
    })
  }

  /** Takes what an earlier client has left in the store, if there is one, and connects. */
  begin(isConnecting: boolean): void {
    if (this.lasting) this.connection.ready = this.lasting.load()
    if (isConnecting) this.connection.connect()
  }

  now(): number {
    return this.clock.now()
  }

  stamp(): string {
    return this.clock.tick()
  }

  invalid(problem: InvalidValue): void {
    this.emit('invalid', problem)
  }

  /** The server says that something is wrong, and not with what. */
  fault(message: Incoming): void {
    this.emit('error', errorOf(message as never))
  }

  /** The feed of a map, which has one type for good. */
  feed(map: string, type: MapType): Feed {
    const known = this.feeds.get(map)
    if (known) {
      const { type: other } = known.replica.rules
      if (other !== type) throw new AnnulusError('map_type', `the map ${map} is used as ${other}, not as ${type}`)
      return known
    }
    const rules = type === 'lww' ? lwwRules : type === 'or' ? this.options.extras.or : this.counting?.rules(map)
    if (!rules) throw new AnnulusError('map_type', `this client was built without maps of the type ${type}`)
    const replica = new Replica(map, rules as unknown as Rules<unknown, unknown>, () => this.now())
    const feed = new Feed(replica, {
      connection: this.connection,
      batch: work => this.batch.run(work),
      observe: (replica, entries) => this.#observe(replica, entries),
      synced: () => this.#synced(replica),
      failed: (map, error) => this.#failed(map, error),
    })
    this.feeds.set(map, feed)
    this.lasting?.came(feed)
    return feed
  }

  write(replica: Replica, make: () => Operation, options: WriteOptions | undefined, undo?: () => void): Promise<void> {
    const op = make()
    if (typeof op.key !== 'string' || op.key === '' || op.key.includes('\0')) {
      undo?.()
      throw new AnnulusError('key_invalid', 'a key is a text that is not empty and has no U+0000')
    }
    const done = new Promise<void>((resolve, reject) => {
      if (this.connection.state === 'closed') {
        undo?.()
        return reject(this.endedBy())
      }
      // What is written without a connection is written to be kept.
      const ack = options?.ack ?? this.options.ack ?? (this.connection.state === 'open' ? 'memory' : 'durable')
      const write: Write = { seq: 0, op, ack, replica, undo, resolve, reject }
      this.batch.run(() => replica.written(write))
      if (!this.lasting?.holds(write, make)) this.enqueue(write)
    })
    // Whoever does not wait for it hears of a rejection by the event.
    done.catch(() => undefined)
    return done
  }

  synced(map: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.connection.state === 'closed') return reject(this.endedBy())
      this.#waiters.add({ map, resolve, reject })
      this.#checkWaiters()
    })
  }

  /** A view is not needed any more. */
  closed(view: AnyView): void {
    const feed = this.feeds.get(view.name)
    if (feed?.views.delete(view) && feed.views.size === 0) feed.unsubscribe()
  }

  /** Under which type a map is used here. */
  typeOf(map: string): MapType | undefined {
    return this.feeds.get(map)?.replica.rules.type
  }

  /** Writes for another tab, which keeps it. */
  relay(op: Operation, ack: AckLevel): Promise<void> {
    const { replica } = this.feed(op.map, TYPES[op.op])
    const done = new Promise<void>((resolve, reject) => {
      const write: Write = { seq: this.#nextSeq++, op, ack, replica, isRelayed: true, undo: undefined, resolve, reject }
      this.batch.run(() => replica.written(write))
      this.outbox.add(write)
    })
    // The other tab forgets it then, and a cursor that covers it may be in the store: its effect has to be there, too.
    return done.then(() => this.lasting?.saved().catch(() => undefined))
  }

  /** Sends what was written before this client was there, as `seq` if it was this section's. */
  again(op: Operation, ack: AckLevel, seq = 0): void {
    this.#nextSeq = Math.max(this.#nextSeq, seq)
    const { replica } = this.feed(op.map, TYPES[op.op])
    const nobody = { undo: undefined, resolve: () => undefined, reject: () => undefined }
    const write: Write = { seq: 0, op, ack, replica, ...nobody }
    this.batch.run(() => replica.written(write))
    this.enqueue(write)
  }

  /** Sends a write that has its place in the replica. */
  enqueue(write: Write): void {
    if (this.connection.state === 'closed') return write.reject(this.endedBy())
    write.seq = this.#nextSeq++
    this.#keepSlot(write.op)
    this.lasting?.write(write)
    this.outbox.add(write)
    this.emit('pending', this.outbox.size)
  }

  #keepSlot({ op, map, key }: Operation): void {
    if (op === 'increment') this.counting?.keep(map, key)
  }

  #opened(hello: Hello): void {
    this.hello = hello
    this.clock.follow(hello.time)
    for (const feed of this.feeds.values()) feed.subscribe()
    this.outbox.flush()
  }

  #interrupted(): void {
    for (const feed of this.feeds.values()) feed.interrupted()
    this.outbox.interrupted()
  }

  #ended(): void {
    this.outbox.close(this.endedBy())
    for (const waiter of this.#waiters) waiter.reject(this.endedBy())
    this.#waiters.clear()
  }

  /** Why nothing is sent any more, where the connection is `closed`. */
  endedBy(): AnnulusError<string> {
    return this.connection.error ?? new AnnulusError('closed', 'the client is closed')
  }

  #message(message: Incoming): void {
    const { map, query } = message
    // What is said of a list that the server keeps is no news of a replica.
    if (typeof map === 'string' && query === undefined) this.feeds.get(map)?.message(message)
  }

  #observe(replica: Replica, entries: Entry[]): void {
    const { clock } = this
    const see = (at: string) => clock.observe(at)
    for (const entry of entries) replica.rules.observe(entry, see)
  }

  #synced(replica: Replica): void {
    if (replica.rules.type === 'counter') this.counting?.synced(replica)
    this.#checkWaiters()
  }

  #failed(map: string, error: AnnulusError<string>): void {
    this.emit('error', error)
    for (const waiter of this.#waiters) {
      if (waiter.map !== map) continue
      this.#waiters.delete(waiter)
      waiter.reject(error)
    }
  }

  #checkWaiters(): void {
    for (const waiter of this.#waiters) {
      if (!this.feeds.get(waiter.map)?.replica.isSynced || this.outbox.has(waiter.map)) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }

  #taken(write: Write): void {
    const { op, replica } = write
    const take = () => this.batch.run(() => replica.taken(write))
    if (op.op === 'increment') this.counting?.taken(replica, op, take)
    else take()
    write.resolve()
    this.#left(write)
  }

  #rejected(write: Write, error: AnnulusError<string>): void {
    const { op, replica } = write
    this.batch.run(() => {
      write.undo?.()
      replica.rejected(write)
    })
    this.#keepSlot(op)
    if (!write.isRelayed) this.emit('rejected', { map: op.map, key: op.key, operation: op, error })
    write.reject(error)
    this.#left(write)
  }

  /** A write has left the outbox, which it does once its answer was looked at. */
  #left(write: Write): void {
    this.lasting?.done(write)
    queueMicrotask(() => {
      this.emit('pending', this.outbox.size)
      this.#checkWaiters()
    })
  }

  async #restamp(writes: Write[]): Promise<void> {
    await new Promise<void>(resolve => {
      this.connection.ask({ type: 'ping' }, (_error, pong) => {
        if (pong) this.clock.correct(pong.time)
        resolve()
      })
    })
    this.batch.run(() => {
      for (const write of writes) {
        if ('at' in write.op) write.op = { ...write.op, at: this.stamp() }
        this.lasting?.write(write)
        write.replica.touch(write.op.key)
      }
    })
  }
}
