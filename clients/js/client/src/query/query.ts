// Rows of a map that match, sorted, and kept so as the map changes. A change costs its own row and its place among the
// sorted ones; listeners hear of it only if it shows between `offset` and `limit`.

import type { Batch } from '../maps/batch'
import type { Change } from '../maps/view'
import { Sorted } from '../sorted'
import { type Row, sorting } from './order'
import { Rows } from './rows'
import { compile, type Test, type Where } from './where'

/** What is wanted, with the meaning that it has on the server (docs/queries.md). It is asked of what is here. */
export interface QueryOptions<T = unknown> {
  where?: Where
  /** Paths of fields, `-` before one turning its order around. Rows that are equal by them come in the order of their keys. */
  sort?: readonly (string | (keyof T & string) | `-${keyof T & string}`)[]
  limit?: number
  offset?: number
}

export class Query<T> extends Rows<T> {
  readonly #rows = new Map<string, Row<T>>()
  readonly #sorted: Sorted<Row<T>>
  readonly #test: Test
  readonly #fields: (value: T) => unknown[]
  readonly #compare: (a: Row<T>, b: Row<T>) => number
  readonly #start: number
  readonly #end: number
  readonly #follow = (changes: readonly Change<T>[]) => this.#changed(changes)

  constructor(
    entries: Iterable<[string, T]>,
    readonly options: QueryOptions<T>,
    private readonly followers: Set<(changes: readonly Change<T>[]) => void>,
    batch: Batch,
  ) {
    super(batch)
    const { fields, compare } = sorting<T>(options.sort ?? [])
    this.#test = compile(options.where)
    this.#fields = fields
    this.#compare = compare
    this.#start = options.offset ?? 0
    this.#end = this.#start + (options.limit ?? Number.POSITIVE_INFINITY)
    this.#sorted = new Sorted(compare)
    for (const [key, value] of entries) {
      if (this.#test(value)) this.#rows.set(key, { key, value, by: fields(value) })
    }
    this.#sorted.fill([...this.#rows.values()])
    followers.add(this.#follow)
  }

  protected override list(): [key: string, value: T][] {
    return this.#sorted.slice(this.#start, this.#end).map(({ key, value }) => [key, value])
  }

  /** How many match, with those that `limit` and `offset` leave out. Listeners hear of it with the rows only. */
  get total(): number {
    return this.#sorted.size
  }

  override close(): void {
    this.followers.delete(this.#follow)
    super.close()
  }

  #changed(changes: readonly Change<T>[]): void {
    let shows = false
    for (const { key, value } of changes) {
      const before = this.#rows.get(key)
      const after = value !== undefined && this.#test(value) ? { key, value, by: this.#fields(value) } : undefined
      // Whether the row that goes, or the one that comes, is before the end: then what is shown moves.
      if (before) {
        shows ||= this.#isBeforeEnd(before)
        this.#sorted.remove(before)
        this.#rows.delete(key)
      }
      if (after) {
        this.#sorted.add(after)
        this.#rows.set(key, after)
        shows ||= this.#isBeforeEnd(after)
      }
    }
    if (shows) this.changed()
  }

  #isBeforeEnd(row: Row<T>): boolean {
    const last = this.#end === Number.POSITIVE_INFINITY ? undefined : this.#sorted.at(this.#end - 1)
    return last === undefined || this.#compare(row, last) <= 0
  }
}
