// Maps as applications use them.

import type { AckLevel, Json, Operation } from '../wire'
import type { Filter } from './filter'
import type { Replica } from './replica'
import { View, type ViewHost } from './view'
import { type SetOptions, writeDelete, writeSet } from './writes'

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
export class PlainMap<T = Json> extends View<T> {
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
  set(key: string, value: T, options?: SetOptions): Promise<void> {
    return writeSet(this.host, this.replica, key, value, options)
  }

  delete(key: string, options?: WriteOptions): Promise<void> {
    return writeDelete(this.host, this.replica, key, options)
  }

  protected override read(key: string, cell: unknown): T | undefined {
    const value = this.replica.shown(key, cell)
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
