// What is known of one map: what the server has told (`base`), and over it what was written here and the server has
// yet to take. Merging itself is the business of `Rules`.
//
// Invariant: `cursor` never covers more than `base` has. While a snapshot comes that may take the place of all there
// is, it is built beside it (`coming`), and what is shown stays until it is complete.

import type { Entry, Operation } from '../wire'
import type { Rules } from './rules'

/** A write that the server has yet to acknowledge. */
export interface Pending {
  op: Operation
}

/** Who shows the map, and is told which keys may have changed, and what the server has told of them. */
export interface Viewer {
  touched(key: string, cell: unknown): void
}

/** Who is told what the server has told, or taken: whoever keeps it for the next time, and other tabs. */
export interface CellKeeper {
  cell(key: string): void
  cursor(): void
  /** What was there before counts no more, also of keys that are there still. */
  replaced?(): void
}

export class Replica<Cell = unknown, Shown = unknown> {
  readonly base = new Map<string, Cell>()
  readonly pending = new Map<string, Pending[]>()
  readonly viewers = new Set<Viewer>()
  readonly taps = new Set<CellKeeper>()
  cursor: string | null = null
  /** Whether the map is as the server has it, but for changes on their way. */
  isSynced = false
  /** The snapshot that is coming, until its last part. `isAll`: nothing but what it names is there. */
  #coming: { cells: Map<string, Cell>; direct: boolean; isAll: boolean } | null = null

  constructor(
    readonly map: string,
    readonly rules: Rules<Cell, Shown>,
    private readonly now: () => number,
  ) {}

  /** What is shown of a key with this cell, which whoever asks has looked up already. */
  shown(key: string, cell: Cell | undefined): Shown | undefined {
    return this.rules.shown(cell, this.#ops(key), key, this.now)
  }

  endsAt(key: string, cell: Cell | undefined): number | undefined {
    return this.rules.endsAt?.(cell, this.#ops(key))
  }

  /** Every key that may be shown. */
  *keys(): Iterable<string> {
    yield* this.base.keys()
    for (const key of this.pending.keys()) if (!this.base.has(key)) yield key
  }

  written(pending: Pending): void {
    const { key } = pending.op
    const list = this.pending.get(key)
    if (list) list.push(pending)
    else this.pending.set(key, [pending])
    this.touch(key)
  }

  /** The server has taken a write. */
  taken(pending: Pending): void {
    const { key } = pending.op
    this.#forget(pending)
    this.#put(key, this.rules.taken(this.base.get(key), pending.op))
    // A walk that has passed this key does not tell of it any more.
    const coming = this.#coming
    if (coming && !coming.direct) coming.cells.set(key, this.rules.taken(coming.cells.get(key), pending.op))
    this.touch(key)
  }

  /** The server has rejected a write: it was never there. */
  rejected(pending: Pending): void {
    this.#forget(pending)
    this.touch(pending.op.key)
  }

  /** A part of a snapshot. `isWhole`: it was asked for without a cursor, so what it does not name is not there. */
  snapshot(part: { entries: Entry[]; more: boolean; cursor?: string; reset?: boolean }, isWhole: boolean): void {
    this.isSynced = false
    if (!this.#coming) {
      // With nothing of before there is nothing to take the place of.
      this.#coming = { cells: new Map(), direct: this.base.size === 0, isAll: isWhole }
    }
    const coming = this.#coming
    if (coming.direct) this.#merge(part.entries)
    else
      for (const entry of part.entries) coming.cells.set(entry.key, this.rules.told(coming.cells.get(entry.key), entry))
    if (part.more) return
    this.#coming = null
    if (!coming.direct) {
      if (part.reset || coming.isAll) this.#replace(coming.cells)
      else for (const [key, cell] of coming.cells) this.#merge([this.rules.save(key, cell)])
    }
    this.#setCursor(part.cursor ?? null)
    this.isSynced = true
  }

  change(entries: Entry[], cursor: string): void {
    this.#merge(entries)
    this.#setCursor(cursor)
  }

  /** Entries that came by themselves or were read. */
  told(entries: Entry[]): void {
    this.#merge(entries)
  }

  /** The connection is gone. What came of a snapshot that is not complete is no part of anything, nor is the cursor. */
  interrupted(): void {
    this.isSynced = false
    if (!this.#coming) return
    this.#coming = null
    this.#setCursor(null)
  }

  /** Drops all that the server has told. */
  clear(): void {
    this.#replace(new Map())
    this.#setCursor(null)
  }

  /** Takes what another tab has kept, in place of all there is. */
  takeOver(entries: Entry[], cursor: string | null): void {
    this.#replace(new Map(entries.map(entry => [entry.key, this.rules.told(undefined, entry)])))
    this.#setCursor(cursor)
  }

  /** Takes what was kept of another time. */
  restore(entries: Entry[], cursor: string | null): void {
    for (const entry of entries) {
      const { key } = entry
      const since = this.base.get(key)
      this.base.set(key, this.rules.told(undefined, entry))
      // The server has taken a write meanwhile.
      if (since !== undefined) this.#put(key, this.rules.told(this.base.get(key), this.rules.save(key, since)))
    }
    this.cursor = cursor
    for (const { key } of entries) this.touch(key)
  }

  touch(key: string): void {
    const cell = this.base.get(key)
    for (const viewer of this.viewers) viewer.touched(key, cell)
  }

  #ops(key: string): readonly Operation[] {
    const list = this.pending.size > 0 ? this.pending.get(key) : undefined
    return list ? list.map(({ op }) => op) : NONE
  }

  #merge(entries: Entry[]): void {
    const { base, rules, taps, viewers } = this
    for (const entry of entries) {
      const { key } = entry
      const cell = rules.told(base.get(key), entry)
      base.set(key, cell)
      // Asking first is not for nothing: to walk through a set costs as much as the rest of this loop.
      if (taps.size > 0) for (const tap of taps) tap.cell(key)
      if (viewers.size > 0) for (const viewer of viewers) viewer.touched(key, cell)
    }
  }

  #replace(cells: Map<string, Cell>): void {
    for (const tap of this.taps) tap.replaced?.()
    for (const key of [...this.base.keys()]) {
      if (cells.has(key)) continue
      this.base.delete(key)
      for (const tap of this.taps) tap.cell(key)
      this.touch(key)
    }
    for (const [key, cell] of cells) {
      this.#put(key, cell)
      this.touch(key)
    }
  }

  #put(key: string, cell: Cell): void {
    this.base.set(key, cell)
    for (const tap of this.taps) tap.cell(key)
  }

  #setCursor(cursor: string | null): void {
    this.cursor = cursor
    for (const tap of this.taps) tap.cursor()
  }

  #forget(pending: Pending): void {
    const { key } = pending.op
    const rest = (this.pending.get(key) ?? []).filter(other => other !== pending)
    if (rest.length > 0) this.pending.set(key, rest)
    else this.pending.delete(key)
  }
}

const NONE: readonly Operation[] = []
