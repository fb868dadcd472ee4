// Sets as applications use them.

import { canonical, plain } from '../canonical'
import { randomName } from '../clock'
import type { Json } from '../wire'
import type { Filter } from './filter'
import type { MapHost, WriteOptions } from './map'
import { liveTags, type OrCell } from './or'
import type { Replica } from './replica'
import { View } from './view'

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
    return this.rows.get(key) ?? NONE
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

  protected override read(key: string, cell: unknown): readonly T[] | undefined {
    return this.replica.shown(key, cell) as readonly T[] | undefined
  }

  protected override isSame(a: readonly T[], b: readonly T[]): boolean {
    return this.replica.rules.same(a, b)
  }
}

/** One list for all keys that are not there, so that it is the same each time. */
const NONE: readonly never[] = []
