// Keeps replicas, outbox, store and connection together: what is written goes through here, and what the server says.

import type { Channel } from './channel'
import { HybridClock, randomName } from './clock'
import { Connection, type Token } from './connection/connection'
import { errorOf } from './connection/requests'
import type { OpenSocket, Sockets } from './connection/socket'
import { Emitter } from './emitter'
import { AnnulusError } from './errors'
import { Feed } from './feeds'
import type { Keeper } from './keeper'
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

/** Where a client keeps what must outlast it, and who keeps it. */
export interface Offline {
  readonly store: Store
  readonly Keeper: typeof Keeper
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
  readonly #feeds = new Map<string, Feed>()
  readonly counting: Counting | null
  readonly #waiters = new Set<{ map: string; resolve(): void; reject(error: Error): void }>()
  hello: Hello | null = null
  /** The rooms and channels of the client. */
  talks: { room(name: string): Room; channel(name: string): Channel } | null = null
  #tabs: Tabs | null = null
  #keeper: Keeper | null = null
  /** What was written before it was known what an earlier client has left. */
  #early: { write: Write; make: () => Operation }[] | null = null
  #loaded: Promise<void> = Promise.resolve()
  #nextSeq = 1

  constructor(private readonly options: EngineOptions) {
    super()
    const engine = this
    const sockets: Sockets = {
      open: (url, protocols) => (this.#tabs?.open ?? options.open)(url, protocols),
      get isRelayed() {
        return engine.#tabs?.isLeader === false
      },
    }
    this.connection = new Connection(options.url, sockets, options.token)
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
          newName: () => this.clock.node,
          changed: slot => this.#keeper?.slot(slot),
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
    const { offline } = this.options
    if (offline) {
      this.#early = []
      this.#loaded = this.#load(offline)
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
    this.#feeds.set(map, feed)
    if (this.#keeper) void this.#restoreFeed(feed, this.#keeper)
    else feed.isReady = this.#early === null
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
    this.#tabs?.close()
    const keeper = this.#keeper
    const store = this.options.offline?.store
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

  /** Under which type a map is used here. */
  typeOf(map: string): MapType | undefined {
    return this.#feeds.get(map)?.replica.rules.type
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
    return done.then(() => this.saved().catch(() => undefined))
  }

  /** Takes over the writes that a tab has left. */
  async adopt(section: string): Promise<void> {
    for (const { op, ack } of (await this.#keeper?.adopt(section)) ?? []) this.#again(op, ack)
  }

  /** Sends what was written before this client was there. */
  #again(op: Operation, ack: AckLevel): void {
    const { replica } = this.feed(op.map, TYPES[op.op])
    const nobody = { undo: undefined, resolve: () => undefined, reject: () => undefined }
    const write: Write = { seq: 0, op, ack, replica, ...nobody }
    this.batch.run(() => replica.written(write))
    this.#enqueue(write)
  }

  /** This tab leads from now on. */
  promoted(): void {
    const keeper = this.#keeper
    if (!keeper) return
    const take = async () => {
      // The cursors of this tab may cover writes of the last leader that it was not told of. Those of the store do not.
      for (const feed of this.#feeds.values()) {
        feed.replica.cursor = null
        const kept = await keeper.feed(feed)
        if (kept) feed.restore(kept, true)
      }
      keeper.isOwner = true
      this.#keepAll()
      await this.#adoptAll('')
    }
    this.connection.ready = take().catch(error => this.emit('error', error))
  }

  /** Takes over what tabs that are gone have left, and what others leave once they are. */
  async #adoptAll(own: string): Promise<void> {
    for (const section of (await this.#keeper?.sections()) ?? []) {
      if (this.#tabs) this.#tabs.adopt(section)
      else if (section !== own) await this.adopt(section)
    }
  }

  async #load({ store, Keeper, Tabs }: Offline): Promise<void> {
    let section = 'main'
    try {
      await store.open()
      if (store.shared !== undefined) {
        // Without locks nobody knows who else is there: each has a section of its own, and replicas are nobody's.
        section = this.clock.node
        if (Tabs?.arePossible()) {
          this.#tabs = new Tabs(store.shared, this.options.open, this)
          section = await this.#tabs.begin()
        }
      }
      const keeper = new Keeper(store, section, this.clock, error => this.emit('error', error))
      keeper.isOwner = store.shared === undefined || this.#tabs?.isLeader === true
      const { writes, slots } = await keeper.restore()
      const early = this.#early ?? []
      for (const { write } of early) write.undo?.()
      for (const slot of slots) this.counting?.restore(slot)
      for (const one of early) one.write.op = one.make()
      this.#keeper = keeper
      store.onLost = () => this.#keepAll()
      for (const { seq, op, ack } of writes) {
        this.#nextSeq = Math.max(this.#nextSeq, seq)
        this.#again(op, ack)
      }
      for (const op of [...(this.counting?.untaken() ?? [])]) {
        if (!this.feed(op.map, 'counter').replica.pending.has(op.key)) this.#again(op, 'durable')
      }
      if (store.shared !== undefined && this.#tabs?.isLeader !== false) await this.#adoptAll(section)
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
      const kept = await keeper.feed(feed)
      if (kept) feed.restore(kept, false)
    } catch (error) {
      this.emit('error', error as AnnulusError<string>)
    }
    feed.replica.taps.add({ cell: key => keeper.cell(feed, key), cursor: () => keeper.cursor(feed) })
    feed.isReady = true
    feed.subscribe()
  }

  /** Has everything written to the store again. */
  #keepAll(): void {
    const keeper = this.#keeper
    if (!keeper) return
    for (const write of this.outbox.writes()) if (!write.isRelayed) keeper.write(write)
    for (const slot of this.counting?.slots() ?? []) keeper.slot(slot)
    for (const feed of this.#feeds.values()) {
      for (const key of feed.replica.base.keys()) keeper.cell(feed, key)
      keeper.cursor(feed)
    }
  }

  #enqueue(write: Write): void {
    if (this.connection.state === 'closed') return write.reject(this.#end())
    write.seq = this.#nextSeq++
    this.#keepSlot(write.op)
    this.#keeper?.write(write)
    this.outbox.add(write)
    this.emit('pending', this.outbox.size)
  }

  #keepSlot({ op, map, key }: Operation): void {
    if (op === 'increment') this.counting?.keep(map, key)
  }

  #opened(hello: Hello): void {
    this.hello = hello
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
      if (!this.#feeds.get(waiter.map)?.replica.isSynced || this.outbox.has(waiter.map)) continue
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
