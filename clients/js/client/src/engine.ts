// Keeps replicas, outbox, store and connection together: what is written goes through here, and what the server says.

import { HybridClock, randomName } from './clock'
import { Connection, type Token } from './connection/connection'
import { errorOf } from './connection/requests'
import type { OpenSocket } from './connection/socket'
import { Emitter } from './emitter'
import { AnnulusError } from './errors'
import { Feed } from './feeds'
import { Keeper } from './keeper'
import { Batch } from './maps/batch'
import { counterRules } from './maps/counter'
import { Ledger } from './maps/ledger'
import { lwwRules } from './maps/lww'
import type { MapHost, WriteOptions } from './maps/map'
import { orRules } from './maps/or'
import { Replica } from './maps/replica'
import type { Rules } from './maps/rules'
import { Sums } from './maps/sums'
import type { AnyView } from './maps/view'
import { Outbox, type Write } from './outbox'
import type { Store } from './store/store'
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
  store: Store | undefined
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
  readonly #feeds = new Map<string, Feed>()
  readonly #ledgers = new Map<string, Ledger>()
  readonly #sums: Sums
  readonly #waiters = new Set<{ map: string; resolve(): void; reject(error: Error): void }>()
  #hello: Hello | null = null
  #keeper: Keeper | null = null
  /** What was written before it was known what an earlier client has left. */
  #early: { write: Write; make: () => Operation }[] | null = null
  #loaded: Promise<void> = Promise.resolve()
  #nextSeq = 1

  constructor(private readonly options: EngineOptions) {
    super()
    this.connection = new Connection(options.url, options.open, options.token)
    this.outbox = new Outbox({
      connection: this.connection,
      messageBytes: () => this.#hello?.limits.message_bytes ?? MESSAGE_BYTES,
      taken: write => this.#taken(write),
      rejected: (write, error) => this.#rejected(write, error),
      restamp: writes => this.#restamp(writes),
    })
    this.#sums = new Sums(this.connection, (replica, key, count, taken) => {
      this.ledger(replica.map).seen(key, taken)
      this.#keepSlot(replica.map, key)
      this.batch.run(() => replica.told([count === undefined ? { key, deleted: true } : { key, count }]))
    })
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
    const { store } = this.options
    if (store) {
      this.#early = []
      this.#loaded = this.#load(store)
    }
    this.connection.ready = this.#loaded
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
    const known = this.#feeds.get(map)
    if (known) {
      const { type: other } = known.replica.rules
      if (other !== type) throw new AnnulusError('map_type', `the map ${map} is used as ${other}, not as ${type}`)
      return known
    }
    const rules = type === 'lww' ? lwwRules : type === 'or' ? orRules : counterRules(this.ledger(map))
    const replica = new Replica<unknown, unknown>(map, rules as Rules<unknown, unknown>, () => this.now())
    const feed = new Feed(replica, {
      connection: this.connection,
      batch: work => this.batch.run(work),
      observe: (replica, entries) => this.#observe(replica, entries),
      synced: () => this.#synced(replica),
      failed: (map, error) => this.#failed(map, error),
    })
    this.#feeds.set(map, feed)
    if (this.#keeper) void this.#restoreFeed(feed, this.#keeper)
    else feed.isReady = this.#early === null
    return feed
  }

  ledger(map: string): Ledger {
    let ledger = this.#ledgers.get(map)
    if (!ledger) {
      ledger = new Ledger(
        () => this.clock.node,
        () => Date.now(),
      )
      this.#ledgers.set(map, ledger)
    }
    return ledger
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
        return reject(this.#end())
      }
      // What is written without a connection is written to be kept.
      const ack = options?.ack ?? this.options.ack ?? (this.connection.state === 'open' ? 'memory' : 'durable')
      const write: Write = { seq: 0, op, ack, replica, undo, resolve, reject }
      this.batch.run(() => replica.written(write))
      if (this.#early) this.#early.push({ write, make })
      else this.#enqueue(write)
    })
    // Whoever does not wait for it hears of a rejection by the event.
    done.catch(() => undefined)
    return done
  }

  synced(map: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.connection.state === 'closed') return reject(this.#end())
      this.#waiters.add({ map, resolve, reject })
      this.#checkWaiters()
    })
  }

  /** Resolves once all that was written is in the store. */
  async saved(): Promise<void> {
    await this.#loaded
    await this.#keeper?.saved()
  }

  /** A view is not needed any more. */
  closed(view: AnyView): void {
    const feed = this.#feeds.get(view.name)
    if (feed?.views.delete(view) && feed.views.size === 0) feed.unsubscribe()
  }

  /** Ends it, with what is kept or without. */
  async close(isErased: boolean): Promise<void> {
    this.connection.close()
    await this.#loaded
    const keeper = this.#keeper
    const { store } = this.options
    if (!keeper || !store) return
    this.#keeper = null
    if (isErased) {
      keeper.stop()
      await store.erase()
    } else {
      await keeper.close()
    }
    await store.close()
  }

  async #load(store: Store): Promise<void> {
    const keeper = new Keeper(store, 'main', this.clock, error => this.emit('error', error))
    try {
      await store.open()
      const { writes, slots } = await keeper.restore()
      const early = this.#early ?? []
      for (const { write } of early) write.undo?.()
      for (const { map, key, slot } of slots) this.ledger(map).slots.set(key, slot)
      for (const one of early) one.write.op = one.make()
      this.#keeper = keeper
      store.onLost = () => this.#keepAll()
      for (const { seq, op, ack } of writes) {
        const { replica } = this.feed(op.map, TYPES[op.op])
        const nobody = { undo: undefined, resolve: () => undefined, reject: () => undefined }
        const write: Write = { seq, op, ack, replica, ...nobody }
        this.#nextSeq = seq + 1
        this.batch.run(() => replica.written(write))
        this.outbox.add(write)
      }
      await Promise.all([...this.#feeds.values()].map(feed => feed.isReady || this.#restoreFeed(feed, keeper)))
    } catch (cause) {
      const error = cause instanceof AnnulusError ? cause : new AnnulusError('storage_failed', `${cause}`, { cause })
      // Two that write one store would lose each other's; without any store it goes on in memory.
      if (error.code === 'storage_in_use') this.connection.stop(error)
      else this.emit('error', error)
      this.#keeper = null
      for (const feed of this.#feeds.values()) feed.isReady = true
    }
    const early = this.#early ?? []
    this.#early = null
    this.batch.run(() => {
      for (const { write, make } of early) {
        write.undo?.()
        write.op = make()
        this.#enqueue(write)
        write.replica.touch(write.op.key)
      }
    })
  }

  async #restoreFeed(feed: Feed, keeper: Keeper): Promise<void> {
    feed.isReady = false
    try {
      await keeper.restoreFeed(feed)
    } catch (error) {
      this.emit('error', error as AnnulusError<string>)
    }
    feed.replica.keeper = { cell: key => keeper.cell(feed, key), cursor: () => keeper.cursor(feed) }
    feed.isReady = true
    feed.subscribe()
  }

  /** Has everything written to the store again. */
  #keepAll(): void {
    const keeper = this.#keeper
    if (!keeper) return
    for (const write of this.outbox.writes()) keeper.write(write)
    for (const [map, ledger] of this.#ledgers) for (const key of ledger.slots.keys()) keeper.slot(map, key, ledger)
    for (const feed of this.#feeds.values()) {
      for (const key of feed.replica.base.keys()) keeper.cell(feed, key)
      keeper.cursor(feed)
    }
  }

  #enqueue(write: Write): void {
    if (this.connection.state === 'closed') return write.reject(this.#end())
    write.seq = this.#nextSeq++
    this.#keepSlot(write.op.map, write.op.key, write.op.op)
    this.#keeper?.write(write)
    this.outbox.add(write)
    this.emit('pending', this.outbox.size)
  }

  #keepSlot(map: string, key: string, op: Operation['op'] = 'increment'): void {
    if (op === 'increment') this.#keeper?.slot(map, key, this.ledger(map))
  }

  #opened(hello: Hello): void {
    this.#hello = hello
    this.clock.follow(hello.time)
    for (const feed of this.#feeds.values()) feed.subscribe()
    this.outbox.flush()
  }

  #interrupted(): void {
    for (const feed of this.#feeds.values()) feed.interrupted()
    this.outbox.interrupted()
  }

  #ended(): void {
    this.outbox.close(this.#end())
    for (const waiter of this.#waiters) waiter.reject(this.#end())
    this.#waiters.clear()
  }

  #end(): AnnulusError<string> {
    return this.connection.error ?? new AnnulusError('closed', 'the client is closed')
  }

  #message(message: Incoming): void {
    const { map } = message
    if (typeof map === 'string') this.#feeds.get(map)?.message(message)
  }

  #observe(replica: Replica, entries: Entry[]): void {
    for (const entry of entries) for (const at of replica.rules.stampsOf(entry)) this.clock.observe(at)
  }

  #synced(replica: Replica): void {
    if (replica.rules.type === 'counter') {
      const ledger = this.ledger(replica.map)
      for (const key of ledger.unread()) this.#sums.read(replica, key, ledger)
    }
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
      if (!this.#feeds.get(waiter.map)?.replica.isSynced || this.outbox.has(waiter.map)) continue
      this.#waiters.delete(waiter)
      waiter.resolve()
    }
  }

  #taken(write: Write): void {
    const { op, replica } = write
    if (op.op === 'increment') {
      this.ledger(op.map).taken(op.key, op)
      this.#keepSlot(op.map, op.key)
    }
    this.batch.run(() => replica.taken(write))
    if (op.op === 'increment') this.#sums.read(replica, op.key, this.ledger(op.map))
    write.resolve()
    this.#left(write)
  }

  #rejected(write: Write, error: AnnulusError<string>): void {
    const { op, replica } = write
    this.batch.run(() => {
      write.undo?.()
      replica.rejected(write)
    })
    this.#keepSlot(op.map, op.key, op.op)
    this.emit('rejected', { map: op.map, key: op.key, operation: op, error })
    write.reject(error)
    this.#left(write)
  }

  /** A write has left the outbox, which it does once its answer was looked at. */
  #left(write: Write): void {
    this.#keeper?.done(write)
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
        this.#keeper?.write(write)
        write.replica.touch(write.op.key)
      }
    })
  }
}
