// What outlasts this client: takes what an earlier one has left in the store, and shares the store with other tabs.
//
// Invariant: of tabs that share a store one owns its replicas, and it is the one that has the connection. What it
// takes over is what the store has, never what it has been told: only there cursors cover what is there.

import type { OpenSocket, Socket, Sockets } from './connection/socket'
import type { Engine, Offline } from './engine'
import { AnnulusError } from './errors'
import type { Feed } from './feeds'
import { Keeper } from './keeper'
import type { KeptSlot } from './maps/counting'
import type { Write } from './outbox'
import type { Tabs } from './tabs/tabs'
import type { Operation } from './wire'

export class Lasting implements Sockets {
  #keeper: Keeper | null = null
  #tabs: Tabs | null = null
  /** What was written before it was known what an earlier client has left. */
  #early: { write: Write; make: () => Operation }[] | null = []
  #loaded: Promise<void> = Promise.resolve()

  constructor(
    private readonly engine: Engine,
    private readonly offline: Offline,
    private readonly real: OpenSocket,
  ) {}

  open = (url: string, protocols: string[]): Socket => (this.#tabs?.open ?? this.real)(url, protocols)

  get isRelayed(): boolean {
    return this.#tabs?.isLeader === false
  }

  /** Takes what is kept. The client goes on without a store that cannot be used, but not beside another client. */
  load(): Promise<void> {
    this.#loaded = this.#load()
    return this.#loaded
  }

  /** Holds a write until it is known what an earlier client has left. */
  holds(write: Write, make: () => Operation): boolean {
    this.#early?.push({ write, make })
    return this.#early !== null
  }

  /** A map is used: what is kept of it comes into its replica. */
  came(feed: Feed): void {
    if (this.#keeper) void this.#restore(feed, this.#keeper)
    else feed.isReady = this.#early === null
  }

  write(write: Write): void {
    this.#keeper?.write(write)
  }

  done(write: Write): void {
    this.#keeper?.done(write)
  }

  slot(slot: KeptSlot): void {
    this.#keeper?.slot(slot)
  }

  /** Resolves once all that was written is in the store. */
  async saved(): Promise<void> {
    await this.#loaded
    await this.#keeper?.saved()
  }

  async close(isErased: boolean): Promise<void> {
    await this.#loaded
    const keeper = this.#keeper
    const { store } = this.offline
    this.#keeper = null
    if (keeper && isErased) {
      keeper.stop()
      await store.erase()
    } else {
      await keeper?.close()
    }
    // Only then another tab may write what this one has written.
    this.#tabs?.close()
    if (keeper) await store.close()
  }

  /** Takes over the writes that a tab has left. */
  async adopt(section: string): Promise<void> {
    for (const { op, ack } of (await this.#keeper?.adopt(section)) ?? []) this.engine.again(op, ack)
  }

  /** This tab leads from now on. */
  promoted(): void {
    this.engine.connection.ready = this.#takeOver().catch(error => this.engine.emit('error', error))
  }

  async #load(): Promise<void> {
    try {
      await this.#restoreAll()
    } catch (cause) {
      const error = cause instanceof AnnulusError ? cause : new AnnulusError('storage_failed', `${cause}`, { cause })
      if (error.code === 'storage_in_use') this.engine.connection.stop(error)
      else this.engine.emit('error', error)
      this.#keeper = null
      for (const feed of this.engine.feeds.values()) feed.isReady = true
    }
    const early = this.#early ?? []
    this.#early = null
    this.engine.batch.run(() => {
      for (const { write, make } of early) {
        write.undo?.()
        write.op = make()
        this.engine.enqueue(write)
        write.replica.touch(write.op.key)
      }
    })
  }

  async #restoreAll(): Promise<void> {
    const { engine } = this
    const { store } = this.offline
    await store.open()
    const section = await this.#section()
    const keeper = new Keeper(store, section, engine.clock, error => engine.emit('error', error))
    keeper.isOwner = store.shared === undefined || this.#tabs?.isLeader === true
    const { writes, slots } = await keeper.restore()
    // What was counted meanwhile is counted once more in the slots that were kept.
    const early = this.#early ?? []
    for (const { write } of early) write.undo?.()
    for (const slot of slots) engine.counting?.restore(slot)
    for (const one of early) one.write.op = one.make()

    this.#keeper = keeper
    store.onLost = () => this.#keepAll()
    for (const { seq, op, ack } of writes) engine.again(op, ack, seq)
    for (const op of [...(engine.counting?.untaken() ?? [])]) {
      if (!engine.feed(op.map, 'counter').replica.pending.has(op.key)) engine.again(op, 'durable')
    }
    if (store.shared !== undefined && this.#tabs?.isLeader !== false) await this.#adoptAll(section)
    await Promise.all([...engine.feeds.values()].map(feed => feed.isReady || this.#restore(feed, keeper)))
  }

  /** What of the store is this client's own. */
  async #section(): Promise<string> {
    const { store, Tabs } = this.offline
    if (store.shared === undefined) return 'main'
    // Without locks nobody knows who else is there: each has a section of its own, and replicas are nobody's.
    if (!Tabs?.arePossible()) return this.engine.clock.node
    this.#tabs = new Tabs(store.shared, this.real, this.engine, this)
    return this.#tabs.begin()
  }

  async #restore(feed: Feed, keeper: Keeper): Promise<void> {
    feed.isReady = false
    try {
      const kept = await keeper.feed(feed)
      if (kept) feed.restore(kept, false)
    } catch (error) {
      this.engine.emit('error', error as AnnulusError<string>)
    }
    feed.replica.taps.add({ cell: key => keeper.cell(feed, key), cursor: () => keeper.cursor(feed) })
    feed.isReady = true
    feed.subscribe()
  }

  async #takeOver(): Promise<void> {
    const keeper = this.#keeper
    if (!keeper) return
    for (const feed of this.engine.feeds.values()) {
      feed.replica.cursor = null
      const kept = await keeper.feed(feed)
      if (kept) feed.restore(kept, true)
    }
    keeper.isOwner = true
    this.#keepAll()
    await this.#adoptAll('')
  }

  /** Takes over what tabs that are gone have left, and what others leave once they are. */
  async #adoptAll(own: string): Promise<void> {
    for (const section of (await this.#keeper?.sections()) ?? []) {
      if (this.#tabs) this.#tabs.adopt(section)
      else if (section !== own) await this.adopt(section)
    }
  }

  /** Has everything written to the store again. */
  #keepAll(): void {
    const keeper = this.#keeper
    if (!keeper) return
    for (const write of this.engine.outbox.writes()) if (!write.isRelayed) keeper.write(write)
    for (const slot of this.engine.counting?.slots() ?? []) keeper.slot(slot)
    for (const feed of this.engine.feeds.values()) {
      for (const key of feed.replica.base.keys()) keeper.cell(feed, key)
      keeper.cursor(feed)
    }
  }
}
