// What replicas of all types of map have in common: how a key's state is merged, and what is shown of it.

import type { Entry, MapType, Operation } from '../wire'

/** The rules of one type of map. `Cell` is the state of a key, `Shown` what an application sees of it. */
export interface Rules<Cell, Shown> {
  readonly type: MapType
  /** Merges what the server has told. May change `cell`, and returns what to keep. */
  told(cell: Cell | undefined, entry: Entry): Cell
  /** Merges a write of this client that the server has taken. */
  taken(cell: Cell | undefined, op: Operation): Cell
  /** What is shown of a key with writes that the server has yet to take. `undefined`: the key is not there. */
  shown(cell: Cell | undefined, ops: readonly Operation[], key: string, now: () => number): Shown | undefined
  /** Whether there is nothing new to show. */
  same(a: Shown, b: Shown): boolean
  /** When what is shown of a key ends by itself, in Unix milliseconds of the server. */
  endsAt?(cell: Cell | undefined, ops: readonly Operation[]): number | undefined
  /** A cell as an entry, which `told` makes the same cell of. */
  save(key: string, cell: Cell): Entry
  /** Shows the stamps of an entry, which the clock has to pass. */
  observe(entry: Entry, see: (at: string) => void): void
}
