// What this client has counted in the counters of one map: the totals of its own slot, which the server merges by
// maximum, so that they may be sent twice.
//
// The server tells sums, not whose counting is in them. So after it has taken totals the counter is read once, and
// only then is what was counted here no longer added to the sum: the number on the screen does not jump back.
// Invariant: `seen <= taken <= totals`, in both directions of counting.

import { randomName } from '../clock'

export interface Slot {
  replica: string
  added: number
  subtracted: number
  /** What the server has acknowledged. */
  takenAdded: number
  takenSubtracted: number
  /** What is in the sum that was told last. */
  seenAdded: number
  seenSubtracted: number
  /** Until when it may be counted in, in Unix milliseconds; 0: the server has taken nothing yet. */
  goodUntil: number
}

export type Totals = { replica: string; added: number; subtracted: number }

export class Ledger {
  readonly slots = new Map<string, Slot>()

  constructor(
    /** Of the first slot of each counter. */
    private readonly name: string,
    private readonly now: () => number,
    /**
     * After so much silence a slot is left, and another one begun: the server forgets who has counted, and would take
     * the old totals for new ones.
     */
    private readonly silentMs: () => number,
  ) {}

  /** Counts `by`, and returns the totals to send. */
  count(key: string, by: number): Totals {
    const slot = this.#slot(key)
    if (by > 0) slot.added += by
    else slot.subtracted -= by
    return { replica: slot.replica, added: slot.added, subtracted: slot.subtracted }
  }

  /** The server has taken these totals. */
  taken(key: string, totals: Totals): void {
    const slot = this.slots.get(key)
    if (slot?.replica !== totals.replica) return
    slot.takenAdded = Math.max(slot.takenAdded, totals.added)
    slot.takenSubtracted = Math.max(slot.takenSubtracted, totals.subtracted)
    // Totals that were sent before one of their increments was undone count all the same.
    slot.added = Math.max(slot.added, slot.takenAdded)
    slot.subtracted = Math.max(slot.subtracted, slot.takenSubtracted)
    slot.goodUntil = this.now() + this.silentMs()
  }

  /** The server has rejected what `by` was counted for. */
  undo(key: string, by: number): void {
    const slot = this.slots.get(key)
    if (!slot) return
    if (by > 0) slot.added -= by
    else slot.subtracted += by
  }

  /** What is to be added to the sum that was told. */
  unseen(key: string): number {
    const slot = this.slots.get(key)
    return slot ? slot.added - slot.seenAdded - (slot.subtracted - slot.seenSubtracted) : 0
  }

  /** Keys of which the server has taken more than is in the sum. */
  *unread(): Iterable<string> {
    for (const [key, slot] of this.slots) if (isUnread(slot)) yield key
  }

  /** A sum was told that has everything that was taken when it was asked for. */
  seen(key: string, taken: { added: number; subtracted: number }): void {
    const slot = this.slots.get(key)
    if (!slot) return
    slot.seenAdded = Math.max(slot.seenAdded, taken.added)
    slot.seenSubtracted = Math.max(slot.seenSubtracted, taken.subtracted)
  }

  takenOf(key: string): { added: number; subtracted: number } {
    const slot = this.slots.get(key)
    return { added: slot?.takenAdded ?? 0, subtracted: slot?.takenSubtracted ?? 0 }
  }

  #slot(key: string): Slot {
    const known = this.slots.get(key)
    const isOld = known && known.goodUntil > 0 && this.now() > known.goodUntil
    if (known && !(isOld && known.added === known.takenAdded && known.subtracted === known.takenSubtracted))
      return known
    const fresh = { added: 0, subtracted: 0, takenAdded: 0, takenSubtracted: 0, seenAdded: 0, seenSubtracted: 0 }
    // A slot that begins at zero has no name that was ever counted under.
    const slot: Slot = { replica: known ? randomName() : this.name, ...fresh, goodUntil: 0 }
    this.slots.set(key, slot)
    return slot
  }
}

const isUnread = (slot: Slot) => slot.takenAdded > slot.seenAdded || slot.takenSubtracted > slot.seenSubtracted
