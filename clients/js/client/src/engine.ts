// Keeps replicas, outbox and connection together: what is written goes through here, and what the server says.

import { HybridClock, randomName } from './clock'
import { Connection, type Token } from './connection/connection'
import { errorOf } from './connection/requests'
import type { OpenSocket } from './connection/socket'
import { Emitter } from './emitter'
import { AnnulusError } from './errors'
import { Feed } from './feeds'
import { Batch } from './maps/batch'
import { counterRules } from './maps/counter'
import { Ledger } from './maps/ledger'
import { lwwRules } from './maps/lww'
import type { MapHost, WriteOptions } from './maps/map'
import { orRules } from './maps/or'
import { Replica } from './maps/replica'
import type { Rules } from './maps/rules'
import type { AnyView } from './maps/view'
import { Outbox, type Write } from './outbox'
import type { Entry, Hello, Incoming, MapType, Operation } from './wire'

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
  /** The outbox has fewer or more writes in it. */
  pending: number
}

/** What a message may have before the server has said. */
const MESSAGE_BYTES = 1 << 20

export class Engine extends Emitter<Events> implements MapHost {
  readonly batch = new Batch()
  readonly clock = new HybridClock(randomName())
  readonly connection: Connection
  readonly feeds = new Map<string, Feed>()
  readonly ledgers = new Map<string, Ledger>()
  readonly outbox: Outbox
  #hello: Hello | null = null
  #nextSeq = 1
  readonly #waiters = new Set<{ map: string; resolve(): void; reject(error: Error): void }>()

  constructor(
    url: string,
    open: OpenSocket,
    token: Token | undefined,
    private readonly ack: 'memory' | 'durable' | undefined,
  ) {
    super()
    this.connection = new Connection(url, open, token)
    this.outbox = new Outbox({
      connection: this.connection,
      messageBytes: () => this.#hello?.limits.message_bytes ?? MESSAGE_BYTES,
      taken: write => this.#taken(write),
      rejected: (write, error) => this.#rejected(write, error),
      restamp: writes => this.#restamp(writes),
    })
    this.connection.on('hello', hello => this.#opened(hello))
    this.connection.on('message', message => this.#message(message))
    this.connection.on('error', error => this.emit('error', error))
    this.connection.on('state', state => {
      if (state === 'offline' || state === 'closed') this.#interrupted()
      if (state === 'closed') this.#closed()
    })
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

  /** The feed of a map, which has one type for good. */
  feed(map: string, type: MapType): Feed {
    const known = this.feeds.get(map)
    if (known) {
      const { type: other } = known.replica.rules
      if (other !== type) throw new AnnulusError('map_type', `the map ${map} is used as ${other}, not as ${type}`)
      return known
    }
    const replica = new Replica<unknown, unknown>(map, this.#rules(map, type) as Rules<unknown, unknown>, () =>
      this.now(),
    )
    const feed = new Feed(replica, {
      connection: this.connection,
      batch: work => this.batch.run(work),
      observe: (_replica, entries) => this.#observe(replica, entries),
      synced: () => this.#synced(feed),
      failed: (map, error) => this.#failed(map, error),
    })
    this.feeds.set(map, feed)
    return feed
  }

  ledger(map: string): Ledger {
    let ledger = this.ledgers.get(map)
    if (!ledger)
      this.ledgers.set(
        map,
        (ledger = new Ledger(
          () => this.clock.node,
          () => Date.now(),
        )),
      )
    return ledger
  }

  write(replica: Replica, op: Operation, options: WriteOptions | undefined, undo?: () => void): Promise<void> {
    if (typeof op.key !== 'string' || op.key === '' || op.key.includes('\0')) {
      undo?.()
      throw new AnnulusError('key_invalid', 'a key is a text that is not empty and has no U+0000')
    }
    if (this.connection.state === 'closed') {
      undo?.()
      const refused = Promise.reject(this.#end())
      refused.catch(() => undefined)
      return refused
    }
    // What is written without a connection is written to be kept.
    const ack = options?.ack ?? this.ack ?? (this.connection.state === 'open' ? 'memory' : 'durable')
    const done = new Promise<void>((resolve, reject) => {
      const write: Write = { seq: this.#nextSeq++, op, ack, replica, undo, resolve, reject }
      this.batch.run(() => replica.written(write))
      this.outbox.add(write)
      this.emit('pending', this.outbox.size)
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

  closed(view: AnyView): void {
    const feed = this.feeds.get(view.name)
    if (feed?.views.delete(view) && feed.views.size === 0) feed.unsubscribe()
  }

  /** The server says that something is wrong, and not with what. */
  fault(message: Incoming): void {
    this.emit('error', errorOf(message as never))
  }

  #rules(map: string, type: MapType): unknown {
    return type === 'lww' ? lwwRules : type === 'or' ? orRules : counterRules(this.ledger(map))
  }

  #opened(hello: Hello): void {
    this.#hello = hello
    this.clock.follow(hello.time)
    for (const feed of this.feeds.values()) feed.subscribe()
    this.outbox.flush()
  }

  #interrupted(): void {
    for (const feed of this.feeds.values()) feed.interrupted()
    this.outbox.interrupted()
  }

  #closed(): void {
    this.outbox.close(this.#end())
    for (const waiter of this.#waiters) waiter.reject(this.#end())
    this.#waiters.clear()
  }

  #end(): AnnulusError<string> {
    return this.connection.error ?? new AnnulusError('closed', 'the client is closed')
  }

  #message(message: Incoming): void {
    const { map } = message
    if (typeof map === 'string') this.feeds.get(map)?.message(message)
  }

  #observe(replica: Replica, entries: Entry[]): void {
    for (const entry of entries) for (const at of replica.rules.stampsOf(entry)) this.clock.observe(at)
  }

  #synced(feed: Feed): void {
    const { map, rules } = feed.replica
    if (rules.type === 'counter') for (const key of this.ledger(map).unread()) this.#readCounter(feed.replica, key)
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
    if (op.op === 'increment') this.ledger(op.map).taken(op.key, op)
    this.batch.run(() => replica.taken(write))
    if (op.op === 'increment') this.#readCounter(replica, op.key)
    write.resolve()
    this.#left()
  }

  #rejected(write: Write, error: AnnulusError<string>): void {
    const { op, replica } = write
    this.batch.run(() => {
      write.undo?.()
      replica.rejected(write)
    })
    this.emit('rejected', { map: op.map, key: op.key, operation: op, error })
    write.reject(error)
    this.#left()
  }

  /** A write has left the outbox, which it does once its answer was looked at. */
  #left(): void {
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
        write.replica.touch(write.op.key)
      }
    })
  }

  /** Counters of which a sum is on its way. */
  readonly #reading = new Map<string, { isStale: boolean }>()

  /**
   * Has the sum told that has what was taken. A change that comes meanwhile may be newer than the answer, or lack what
   * was taken: then it is asked for again.
   */
  #readCounter(replica: Replica, key: string): void {
    const ledger = this.ledger(replica.map)
    const name = JSON.stringify([replica.map, key])
    if (replica.viewers.size === 0 || this.#reading.has(name)) return
    const reading = { isStale: false }
    this.#reading.set(name, reading)
    const listener = { touched: (other: string) => void (reading.isStale ||= other === key) }
    replica.viewers.add(listener)
    const taken = ledger.takenOf(key)
    this.connection.ask({ type: 'read', map: replica.map, keys: [key] }, (error, message) => {
      replica.viewers.delete(listener)
      this.#reading.delete(name)
      if (error) return
      if (!reading.isStale) {
        this.batch.run(() => {
          ledger.seen(key, taken)
          replica.told(message?.entries.length > 0 ? message?.entries : [{ key, deleted: true }])
        })
      }
      if (ledger.isUnread(key)) this.#readCounter(replica, key)
    })
  }
}
