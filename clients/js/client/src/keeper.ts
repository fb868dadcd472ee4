// Keeps in a store what must outlast this client: writes that the server has yet to take, what was counted, and what
// the server has told, with the cursors that say how far.
//
// Invariant: each `write` to the store has all that has changed since the last one, so what is kept is always the
// state of one moment: no cursor covers what is not there, and a write is gone from the outbox only with its effect
// in the replica.
//
// Records: `clock`; `o/<section>/<seq>`, a write; `c/<section>/<map>/<key>`, a slot of a ledger; `f/<map>`, a
// replica's cursor and what it is for; `e/<map>/<key>`, an entry of a replica. Maps are written as JSON, so that none
// is the front of another.

import type { HybridClock } from './clock'
import { AnnulusError } from './errors'
import type { Feed, Kept } from './feeds'
import type { KeptSlot } from './maps/counting'
import type { Write } from './outbox'
import type { Store, StoreChange } from './store/store'
import type { AckLevel, Entry, MapType, Operation } from './wire'

/** Changes of replicas wait so long for others; writes do not wait. */
const CELLS_MS = 200
/** How long to wait before a store that has failed is tried again. */
const RETRY_MS = 5_000

interface KeptWrite {
  op: Operation
  ack: AckLevel
}

interface KeptFeed {
  type: MapType
  filter: string
  cursor: string | null
}

export interface Restored {
  writes: { seq: number; op: Operation; ack: AckLevel }[]
  slots: KeptSlot[]
}

export class Keeper {
  /** Whether replicas are kept here: of tabs that share a store, one does. */
  isOwner = true
  readonly #writes = new Map<number, Write | undefined>()
  /** Records of tabs that are gone, which are this one's now. */
  readonly #adopted = new Set<string>()
  readonly #slots = new Map<string, KeptSlot>()
  readonly #cells = new Map<Feed, Set<string>>()
  readonly #feeds = new Set<Feed>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #writing: Promise<void> | null = null
  #isFailing = false
  #isClosed = false

  constructor(
    private readonly store: Store,
    /** What of the outbox and the ledgers is this client's. */
    private readonly section: string,
    private readonly clock: HybridClock,
    private readonly failed: (error: AnnulusError<string>) => void,
  ) {}

  /** What an earlier client of this section has left. */
  async restore(): Promise<Restored> {
    const clock = (await this.store.read('clock'))[0]?.[1] as { last: string; ahead: number } | undefined
    if (clock) this.clock.restore(clock)
    const [writes, slots] = await Promise.all([
      this.store.read(`o/${this.section}/`),
      this.store.read(`c/${this.section}/`),
    ])
    return {
      writes: writes
        .map(([key, write]) => ({ seq: Number(key.slice(key.lastIndexOf('/') + 1)), ...(write as KeptWrite) }))
        .sort((a, b) => a.seq - b.seq),
      slots: slots.map(([, value]) => value as KeptSlot),
    }
  }

  /** Sections in which writes wait. */
  async sections(): Promise<Set<string>> {
    return new Set((await this.store.read('o/')).map(([key]) => key.split('/')[1] as string))
  }

  /** What another section's outbox has. Once it is in this one's, it is removed there, both at once. */
  async adopt(section: string): Promise<KeptWrite[]> {
    const writes = await this.store.read(`o/${section}/`)
    for (const [key] of writes) this.#adopted.add(key)
    return writes.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, write]) => write as KeptWrite)
  }

  /** What was kept of a map under its type. */
  async feed(feed: Feed): Promise<Kept | null> {
    const { map, rules } = feed.replica
    const name = JSON.stringify(map)
    // Both at once: what is written from now on is not among them.
    const [feeds, entries] = await Promise.all([this.store.read(`f/${name}`), this.store.read(`e/${name}/`)])
    const kept = feeds[0]?.[1] as KeptFeed | undefined
    if (kept?.type !== rules.type) return null
    // What another tab has counted is in no sum before that tab has asked for one: sums are asked for anew.
    const isWhole = this.store.shared === undefined || kept.type !== 'counter'
    return {
      entries: entries.map(([, entry]) => entry as Entry),
      filter: kept.filter,
      cursor: isWhole ? kept.cursor : null,
    }
  }

  write(write: Write): void {
    this.#writes.set(write.seq, write)
    this.#due(0)
  }

  done(write: Write): void {
    this.#writes.set(write.seq, undefined)
    this.#due(CELLS_MS)
  }

  slot(kept: KeptSlot): void {
    this.#slots.set(`${JSON.stringify(kept.map)}/${kept.key}`, kept)
    this.#due(CELLS_MS)
  }

  cell(feed: Feed, key: string): void {
    if (!this.isOwner) return
    const keys = this.#cells.get(feed)
    if (keys) keys.add(key)
    else this.#cells.set(feed, new Set([key]))
    this.#due(CELLS_MS)
  }

  cursor(feed: Feed): void {
    if (!this.isOwner) return
    this.#feeds.add(feed)
    this.#due(CELLS_MS)
  }

  /** Resolves once everything until now is in the store. */
  async saved(): Promise<void> {
    // What is on its way has not all of it, and is tried again if it fails.
    await this.#writing?.catch(() => undefined)
    if (this.#isDirty()) await this.#flush()
  }

  /** Nothing more is written. What waits is, once more. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.saved().catch(() => undefined)
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  /** Forgets what waits: the store is erased. */
  stop(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #isDirty(): boolean {
    return this.#writes.size + this.#adopted.size + this.#slots.size + this.#cells.size + this.#feeds.size > 0
  }

  /** Writes what has changed, in so many milliseconds at the latest. */
  #due(ms: number): void {
    const at = Date.now() + ms
    if (this.#isClosed || this.#isFailing || at >= this.#dueAt) return
    clearTimeout(this.#timer)
    this.#dueAt = at
    const flush = () => void this.#flush().catch(() => undefined)
    if (ms === 0) queueMicrotask(flush)
    else this.#timer = setTimeout(flush, ms)
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#dueAt = Number.POSITIVE_INFINITY
    // One after the other: what changes meanwhile is the next one's.
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null
      if (this.#isDirty()) this.#due(0)
    })
    return this.#writing
  }

  async #writeAll(): Promise<void> {
    const writes = new Map(this.#writes)
    const slots = new Map(this.#slots)
    const cells = new Map(this.#cells)
    const feeds = new Set(this.#feeds)
    const adopted = [...this.#adopted]
    for (const dirty of [this.#adopted, this.#writes, this.#slots, this.#cells, this.#feeds]) dirty.clear()
    try {
      const gone = adopted.map(key => [key, undefined] as const)
      await this.store.write([...this.#changes(writes, slots, cells, feeds), ...gone])
      this.#isFailing = false
    } catch (cause) {
      // All of it again, with what has changed since.
      for (const [seq, write] of writes) if (!this.#writes.has(seq)) this.#writes.set(seq, write)
      for (const [name, slot] of slots) if (!this.#slots.has(name)) this.#slots.set(name, slot)
      for (const [feed, keys] of cells) for (const key of keys) this.cell(feed, key)
      for (const feed of feeds) this.#feeds.add(feed)
      for (const key of adopted) this.#adopted.add(key)
      throw this.#fail(cause)
    }
  }

  #changes(
    writes: Map<number, Write | undefined>,
    slots: Map<string, KeptSlot>,
    cells: Map<Feed, Set<string>>,
    feeds: Set<Feed>,
  ): StoreChange[] {
    const changes: StoreChange[] = [['clock', { last: this.clock.last, ahead: this.clock.ahead }]]
    for (const [seq, write] of writes) {
      const key = `o/${this.section}/${String(seq).padStart(12, '0')}`
      changes.push([key, write && { op: write.op, ack: write.ack }])
    }
    for (const [name, slot] of slots) {
      changes.push([`c/${this.section}/${name}`, { ...slot, slot: { ...slot.slot } }])
    }
    for (const [feed, keys] of cells) {
      const { base, map, rules } = feed.replica
      for (const key of keys) {
        const cell = base.get(key)
        changes.push([`e/${JSON.stringify(map)}/${key}`, cell === undefined ? undefined : rules.save(key, cell)])
      }
    }
    for (const feed of feeds) {
      const { map, rules, cursor } = feed.replica
      const kept: KeptFeed = { type: rules.type, filter: feed.filterName ?? '', cursor }
      changes.push([`f/${JSON.stringify(map)}`, kept])
    }
    return changes
  }

  #fail(cause: unknown): AnnulusError<string> {
    const error = cause instanceof AnnulusError ? cause : new AnnulusError('storage_failed', `${cause}`, { cause })
    if (!this.#isFailing) this.failed(error)
    this.#isFailing = true
    if (this.#isClosed) return error
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#flush().catch(() => undefined), RETRY_MS)
    return error
  }
}
