// What this client has counted in the counters of one map: the totals of its own slot, which the server merges by
// maximum, so that they may be sent twice.
//
// The server tells sums, not whose counting is in them. So after it has taken totals the counter is read once, and
// only then is what was counted here no longer added to the sum: the number on the screen does not jump back.
// Invariant: `seen <= taken <= totals`, in both directions of counting.

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
  /** When the server last took something, in Unix milliseconds. */
  takenAt: number
}

export type Totals = { replica: string; added: number; subtracted: number }

/**
 * A slot that was silent for longer is left, and another one begun: the server forgets who has counted after its
 * `--tombstone-retention`, and would take the old totals for new ones.
 */
const SILENT_MS = 7 * 24 * 60 * 60 * 1000

export class Ledger {
  readonly slots = new Map<string, Slot>()

  constructor(
    private readonly newName: () => string,
    private readonly now: () => number,
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
    slot.takenAt = this.now()
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
    const isOld = known && known.takenAt > 0 && this.now() - known.takenAt > SILENT_MS
    if (known && !(isOld && known.added === known.takenAdded && known.subtracted === known.takenSubtracted))
      return known
    const fresh = { added: 0, subtracted: 0, takenAdded: 0, takenSubtracted: 0, seenAdded: 0, seenSubtracted: 0 }
    const slot: Slot = { replica: this.newName(), ...fresh, takenAt: 0 }
    this.slots.set(key, slot)
    return slot
  }
}

const isUnread = (slot: Slot) => slot.takenAdded > slot.seenAdded || slot.takenSubtracted > slot.seenSubtracted
