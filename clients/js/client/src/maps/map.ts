// Maps, sets and counters as applications use them.

import { canonical, plain } from '../canonical'
import { randomName } from '../clock'
import { Query, type QueryOptions } from '../query/query'
import type { AckLevel, Json, Operation } from '../wire'
import type { Filter } from './filter'
import type { Ledger } from './ledger'
import { liveTags, type OrCell } from './or'
import type { Replica } from './replica'
import { View, type ViewHost } from './view'

export interface WriteOptions {
  /** How far the write must have come before its promise resolves. */
  ack?: AckLevel
}

/** What writing takes, beside what a view does. */
export interface MapHost extends ViewHost {
  stamp(): string
  /**
   * `make` is called again where the clock or the ledger was not yet what it should be. Resolves once the server has taken it, and rejects once it has refused it. Nobody
   * has to wait for that.
   */
  write(replica: Replica, make: () => Operation, options: WriteOptions | undefined, undo?: () => void): Promise<void>
}

/** Values by key; of two writes to one key the later one stays. */
export class LwwMap<T = Json> extends View<T> {
  /** What the rows were made of, where there is a `parse`. */
  readonly #raw = new Map<string, unknown>()

  constructor(
    name: string,
    filter: Filter,
    replica: Replica,
    protected override readonly host: MapHost,
    private readonly parse: ((value: unknown) => T) | undefined,
  ) {
    super(name, filter, replica, host)
  }

  /** Sets a value: at once here, later everywhere. `ttlMs`: it ends by itself so long after now. */
  set(key: string, value: T, options?: WriteOptions & { ttlMs?: number }): Promise<void> {
    const ttl = options?.ttlMs === undefined ? {} : { ttl_ms: options.ttlMs }
    const op = { map: this.name, key, op: 'set' as const, value: plain(value), ...ttl }
    return this.host.write(this.replica, () => ({ ...op, at: this.host.stamp() }), options)
  }

  delete(key: string, options?: WriteOptions): Promise<void> {
    const op = { map: this.name, key, op: 'delete' as const }
    return this.host.write(this.replica, () => ({ ...op, at: this.host.stamp() }), options)
  }

  /** The rows that match, sorted, and kept so. Close it when it is not needed any more. */
  query(options: QueryOptions<T> = {}): Query<T> {
    return new Query<T>(this.entries(), options, this.followers, this.host.batch)
  }

  protected override read(key: string): T | undefined {
    const value = this.replica.shown(key)
    if (!this.parse) return value as T | undefined
    if (this.#raw.get(key) === value) return this.rows.get(key)
    if (value === undefined) this.#raw.delete(key)
    else this.#raw.set(key, value)
    try {
      if (value === undefined) return undefined
      return this.parse(value)
    } catch (error) {
      this.host.invalid({ map: this.name, key, value, error })
      return undefined
    }
  }

  protected override isSame(): boolean {
    return false
  }
}

/** A set of values by key. What one client adds while another removes the same stays. */
export class SetMap<T = Json> extends View<readonly T[]> {
  constructor(
    name: string,
    filter: Filter,
    replica: Replica,
    protected override readonly host: MapHost,
  ) {
    super(name, filter, replica, host)
  }

  /** The values of a key, those that were added first in front; none where there is no such key. */
  override get(key: string): readonly T[] {
    return this.rows.get(key) ?? []
  }

  /** Whether a key has any value, or this one. */
  override has(key: string, value?: T): boolean {
    if (value === undefined) return this.rows.has(key)
    const text = canonical(value)
    return this.get(key).some(other => canonical(other) === text)
  }

  add(key: string, value: T, options?: WriteOptions): Promise<void> {
    const op = { map: this.name, key, op: 'add' as const, value: plain(value), tag: randomName() }
    return this.host.write(this.replica, () => ({ ...op, at: this.host.stamp() }), options)
  }

  /** Removes every addition of a value that is known here. */
  remove(key: string, value: T, options?: WriteOptions): Promise<void> {
    const text = canonical(value)
    return this.#remove(key, other => canonical(other) === text, options)
  }

  /** Removes all values of a key that are known here. */
  delete(key: string, options?: WriteOptions): Promise<void> {
    return this.#remove(key, () => true, options)
  }

  #remove(key: string, isMeant: (value: unknown) => boolean, options?: WriteOptions): Promise<void> {
    const ops = (this.replica.pending.get(key) ?? []).map(({ op }) => op)
    const live = liveTags(this.replica.base.get(key) as OrCell | undefined, ops)
    const tags = live.filter(([, value]) => isMeant(value)).map(([tag]) => tag)
    if (tags.length === 0) return Promise.resolve()
    return this.host.write(this.replica, () => ({ map: this.name, key, op: 'remove', tags }), options)
  }

  protected override read(key: string): readonly T[] | undefined {
    return this.replica.shown(key) as readonly T[] | undefined
  }

  protected override isSame(a: readonly T[], b: readonly T[]): boolean {
    return this.replica.rules.same(a, b)
  }
}

/** Numbers by key that everybody adds to. */
export class CounterMap extends View<number> {
  constructor(
    name: string,
    filter: Filter,
    replica: Replica,
    protected override readonly host: MapHost,
    private readonly ledger: Ledger,
  ) {
    super(name, filter, replica, host)
  }

  /** The count; 0 where nobody has counted. */
  override get(key: string): number {
    return this.rows.get(key) ?? 0
  }

  /** Adds a whole number, which may be negative. */
  increment(key: string, by = 1, options?: WriteOptions): Promise<void> {
    if (!Number.isSafeInteger(by)) throw new TypeError('a counter counts in whole numbers')
    if (by === 0) return Promise.resolve()
    const op = { map: this.name, key, op: 'increment' as const }
    const make = () => ({ ...op, ...this.ledger.count(key, by) })
    return this.host.write(this.replica, make, options, () => this.ledger.undo(key, by))
  }

  protected override read(key: string): number | undefined {
    return this.replica.shown(key) as number | undefined
  }

  protected override isSame(a: number, b: number): boolean {
    return a === b
  }
}
