// A list that the server keeps: entries by rank, and the steps by which it changes (docs/protocol.md, Live queries).

import { canonical } from '../canonical'

/** One that is shown. It is never changed. */
export interface Listed {
  key: string
  at: string
  /** As it was told. Other rules show another part of it, with the same stamp. */
  value: unknown
}

export interface Step<E> {
  key: string
  event: 'enter' | 'update' | 'leave'
  rank: number
  /** What is there from now on; of one that leaves nothing. */
  entry: E | undefined
}

export class RankedList<E extends Listed> {
  #entries: readonly E[] = []

  get entries(): readonly E[] {
    return this.#entries
  }

  /** Takes the place of all there is. What has not changed stays the same object. */
  replace(entries: readonly E[]): void {
    const kept = this.#keeping()
    this.#entries = entries.map(kept)
  }

  /** Whether the steps were of this list. If not it is as it was. */
  change(steps: readonly Step<E>[]): boolean {
    const entries = [...this.#entries]
    for (const { key, event, rank, entry } of steps) {
      if (event !== 'enter') {
        const place = event === 'leave' ? rank : entries.findIndex(other => other.key === key)
        if (entries[place]?.key !== key) return false
        entries.splice(place, 1)
      }
      if (event === 'leave') continue
      if (!entry || rank > entries.length) return false
      entries.splice(rank, 0, entry)
    }
    this.#entries = entries
    return true
  }

  /** What has changed while there was no connection: who is gone, who is new or has changed, and how many there are. */
  resume(gone: readonly string[], changed: readonly { entry: E; rank: number }[], count: number): void {
    const kept = this.#keeping()
    const left = new Set(gone)
    for (const { entry } of changed) left.add(entry.key)
    const entries = this.#entries.filter(({ key }) => !left.has(key))
    for (const { entry, rank } of changed) entries.splice(rank, 0, kept(entry))
    this.#entries = entries.slice(0, count)
  }

  /** Of an entry that is here already, the one that is here. */
  #keeping(): (entry: E) => E {
    const known = new Map(this.#entries.map(entry => [entry.key, entry]))
    return entry => {
      const before = known.get(entry.key)
      const isSame = before?.at === entry.at && canonical(before.value) === canonical(entry.value)
      return before && isSame ? before : entry
    }
  }
}
