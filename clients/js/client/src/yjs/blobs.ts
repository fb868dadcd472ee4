// What the map of a document has: blobs, each some updates of Yjs merged into one, in parts that a value has room for.
//
// Invariant: a blob never changes, and is removed only by who has all of it in another blob that the server has on its
// disk. So whoever compacts at the same time as others makes the same thing twice, and loses nothing.

import type { PlainMap } from '../maps/map'
import type { Change } from '../maps/view'
import { decode, encode } from './base64'

/** Letters of one value; servers take 256 KiB unless they are told otherwise. */
const PART_LENGTH = 128 << 10

export class Blobs {
  /** Parts that have come of blobs that are not whole. */
  readonly #parts = new Map<string, string[]>()
  /** Whole ones, with how many parts they have. */
  readonly #whole = new Map<string, number>()

  constructor(
    private readonly map: PlainMap<string>,
    /** A blob is there that was not. Whether it could be used: what nobody can read nobody may remove. */
    private readonly came: (id: string, update: Uint8Array) => boolean,
  ) {}

  get count(): number {
    return this.#whole.size
  }

  has(id: string): boolean {
    return this.#whole.has(id)
  }

  /** Names of all that are there. */
  ids(): string[] {
    return [...this.#whole.keys()]
  }

  /** Takes all that the map has. */
  begin(): void {
    for (const [key, value] of this.map.entries()) this.#take(key, value)
  }

  changed(changes: readonly Change<string>[]): void {
    for (const { key, value } of changes) {
      if (value !== undefined) this.#take(key, value)
      else this.#whole.delete(key.slice(0, key.indexOf('/')))
    }
  }

  /** Resolves once the server has it as `ack` says. */
  async put(id: string, update: Uint8Array, ack?: 'durable' | 'memory'): Promise<void> {
    const text = encode(update)
    const count = Math.ceil(text.length / PART_LENGTH)
    const writes: Promise<void>[] = []
    for (let i = 0; i < count; i++) {
      const part = text.slice(i * PART_LENGTH, (i + 1) * PART_LENGTH)
      writes.push(this.map.set(`${id}/${i}/${count}`, part, ack && { ack }))
    }
    await Promise.all(writes)
  }

  remove(id: string): void {
    const count = this.#whole.get(id) ?? 0
    for (let i = 0; i < count; i++) void this.map.delete(`${id}/${i}/${count}`)
  }

  #take(key: string, part: string): void {
    const [id, index, count] = key.split('/') as [string, string, string]
    if (this.#whole.has(id) || !(Number(count) > 0)) return
    const parts = this.#parts.get(id) ?? []
    parts[Number(index)] = part
    // A hole counts for nothing.
    if (Object.keys(parts).length < Number(count)) {
      this.#parts.set(id, parts)
      return
    }
    this.#parts.delete(id)
    const update = decode(parts.join(''))
    if (update && this.came(id, update)) this.#whole.set(id, Number(count))
  }
}
