// A query that the server answers, kept as the server tells it.
//
// Invariant: the cursor is of the list that is here. A list that comes in parts is shown once it is complete.

import type { Engine } from '../engine'
import type { AnnulusError } from '../errors'
import { type Filter, fieldsOf } from '../maps/filter'
import type { QueryOptions } from '../query/query'
import { Rows } from '../query/rows'
import type { Incoming } from '../wire'
import { type Listed, RankedList, type Step } from './list'
import { Queries } from './queries'
import { queryOf } from './wire'

interface Entry<T> extends Listed {
  /** What is shown of it; none: `parse` did not take it. */
  row: [key: string, value: T] | undefined
}

interface WireEntry {
  key: string
  at: string
  value?: unknown
  rank: number
  event?: Step<unknown>['event']
}

export class RemoteQuery<T> extends Rows<T> {
  readonly #list = new RankedList<Entry<T>>()
  #coming: Entry<T>[] = []
  #cursor: string | null = null
  #isSynced = false
  #isClosed = false
  #error: AnnulusError<string> | null = null
  readonly #waiters = new Set<{ resolve(): void; reject(error: Error): void }>()

  constructor(
    readonly map: string,
    readonly options: QueryOptions<T>,
    private readonly filter: Filter,
    private readonly engine: Engine,
    private readonly parse: ((value: unknown) => T) | undefined,
  ) {
    super(engine.batch)
    Queries.of(engine).add(this)
  }

  /** Whether this is what the server has, but for changes on their way. */
  get isSynced(): boolean {
    return this.#isSynced
  }

  /** Why the server does not answer it, if it has said so. */
  get error(): AnnulusError<string> | null {
    return this.#error
  }

  /** Resolves once this is what the server has, and rejects where it does not answer. */
  synced(): Promise<void> {
    if (this.#isSynced) return Promise.resolve()
    const over = this.#error ?? (this.engine.connection.state === 'closed' ? this.engine.endedBy() : null)
    if (over) return Promise.reject(over)
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }))
  }

  /** Ends it: the server does not keep it any more. */
  override close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    Queries.of(this.engine).remove(this)
    super.close()
  }

  protected override list(): [key: string, value: T][] {
    return this.#list.entries.flatMap(({ row }) => (row ? [row] : []))
  }

  // What follows is `Asking`, which applications do not see, and so it is not declared to be.

  /** @internal */
  request(): object {
    const since = this.#cursor === null ? {} : { since: this.#cursor }
    return { ...fieldsOf(this.filter), query: queryOf(this.options as QueryOptions<never>), ...since }
  }

  /** @internal */
  snapshot(part: Incoming): void {
    const told = part.entries as WireEntry[]
    if (part.resumed) {
      const changed = told.map(entry => ({ entry: this.#take(entry), rank: entry.rank }))
      this.#list.resume(part.gone, changed, part.count)
    } else {
      for (const entry of told) this.#coming.push(this.#take(entry))
      if (part.more) return
      this.#list.replace(this.#coming)
      this.#coming = []
    }
    this.#cursor = part.cursor
    this.#isSynced = true
    this.#error = null
    this.changed()
    for (const { resolve } of this.#waiters) resolve()
    this.#waiters.clear()
  }

  /** @internal */
  change(message: Incoming): boolean {
    const steps = (message.entries as WireEntry[]).map((told): Step<Entry<T>> => {
      const { key, rank, event = 'update' } = told
      return { key, rank, event, entry: event === 'leave' ? undefined : this.#take(told) }
    })
    if (!this.#list.change(steps)) {
      this.#cursor = null
      return false
    }
    this.#cursor = message.cursor
    this.changed()
    return true
  }

  /** @internal */
  failed(error: AnnulusError<string>, isPassing: boolean): void {
    this.interrupted()
    if (isPassing) return
    this.#error = error
    this.#cursor = null
    // What may not be seen is not shown, either.
    if (error.code === 'forbidden') this.#list.replace([])
    this.changed()
    this.ended(error)
  }

  /** @internal */
  ended(error: AnnulusError<string>): void {
    for (const { reject } of this.#waiters) reject(error)
    this.#waiters.clear()
  }

  /** @internal */
  interrupted(): void {
    this.#isSynced = false
    this.#coming = []
  }

  #take({ key, at, value }: WireEntry): Entry<T> {
    this.engine.clock.observe(at)
    if (!this.parse) return { key, at, value, row: [key, value as T] }
    try {
      return { key, at, value, row: [key, this.parse(value)] }
    } catch (error) {
      this.engine.invalid({ map: this.map, key, value, error })
      return { key, at, value, row: undefined }
    }
  }
}
