// A sorted list that stays fast when it is long: chunks of at most `CHUNK` items. Finding, adding and removing an item
// look at log n items and move at most a chunk.

const CHUNK = 256

export class Sorted<T> {
  #chunks: T[][] = []
  #size = 0

  constructor(private readonly compare: (a: T, b: T) => number) {}

  get size(): number {
    return this.#size
  }

  /** Takes the place of all there is. */
  fill(items: T[]): void {
    items.sort(this.compare)
    this.#chunks = []
    // Half full, so that those that come next have room.
    for (let i = 0; i < items.length; i += CHUNK / 2) this.#chunks.push(items.slice(i, i + CHUNK / 2))
    this.#size = items.length
  }

  add(item: T): void {
    const at = this.#chunkOf(item)
    const chunk = this.#chunks[at]
    this.#size += 1
    if (!chunk) {
      this.#chunks.push([item])
      return
    }
    chunk.splice(this.#placeIn(chunk, item), 0, item)
    if (chunk.length > CHUNK) this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK / 2))
  }

  /** Whether an equal item was there. */
  remove(item: T): boolean {
    const at = this.#chunkOf(item)
    const chunk = this.#chunks[at]
    if (!chunk) return false
    const place = this.#placeIn(chunk, item)
    const found = chunk[place]
    if (found === undefined || this.compare(found, item) !== 0) return false
    chunk.splice(place, 1)
    if (chunk.length === 0) this.#chunks.splice(at, 1)
    this.#size -= 1
    return true
  }

  first(): T | undefined {
    return this.#chunks[0]?.[0]
  }

  /** The item at a place. It costs one look at each chunk before it. */
  at(index: number): T | undefined {
    for (const chunk of this.#chunks) {
      if (index < chunk.length) return chunk[index]
      index -= chunk.length
    }
    return undefined
  }

  /** Ascending, from the first that is not before `start` on. */
  *from(start?: T): IterableIterator<T> {
    let at = start === undefined ? 0 : this.#chunkOf(start)
    let place = start === undefined ? 0 : this.#placeIn(this.#chunks[at] ?? [], start)
    for (; at < this.#chunks.length; at++, place = 0) {
      const chunk = this.#chunks[at] as T[]
      for (; place < chunk.length; place++) yield chunk[place] as T
    }
  }

  slice(start: number, end: number): T[] {
    const items: T[] = []
    for (const chunk of this.#chunks) {
      if (start < chunk.length) for (const item of chunk.slice(Math.max(start, 0), end)) items.push(item)
      start -= chunk.length
      end -= chunk.length
      if (end <= 0) break
    }
    return items
  }

  /** The chunk in which an item is or would be: the last that does not begin behind it. */
  #chunkOf(item: T): number {
    let low = 0
    let high = this.#chunks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.compare((this.#chunks[middle] as T[])[0] as T, item) <= 0) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The place of the first that is not before an item. */
  #placeIn(chunk: T[], item: T): number {
    let low = 0
    let high = chunk.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.compare(chunk[middle] as T, item) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
