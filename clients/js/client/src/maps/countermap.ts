// Counters as applications use them.

import type { Filter } from './filter'
import type { Ledger } from './ledger'
import type { MapHost, WriteOptions } from './map'
import type { Replica } from './replica'
import { View } from './view'

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

  protected override read(key: string, cell: unknown): number | undefined {
    return this.replica.shown(key, cell) as number | undefined
  }

  protected override isSame(a: number, b: number): boolean {
    return a === b
  }
}
