// What counters take beside what all maps do: the ledgers, and the sums that are read after the server has taken totals.

import type { Connection } from '../connection/connection'
import type { Operation } from '../wire'
import { type CounterCell, counterRules } from './counter'
import { Ledger, type Slot } from './ledger'
import type { Replica } from './replica'
import type { Rules } from './rules'
import { Sums } from './sums'

export interface KeptSlot {
  map: string
  key: string
  slot: Slot
}

export interface CountingHost {
  readonly connection: Connection
  batch(work: () => void): void
  /** The name under which this client counts. */
  readonly name: string
  /** For how long the server remembers who has counted; `undefined`: it does not say. */
  retentionMs(): number | undefined
  /** A slot is not as it was kept. */
  changed(slot: KeptSlot): void
}

/** What servers remember that do not say how long: the default of `--tombstone-retention`. */
const RETENTION_MS = 30 * 24 * 60 * 60 * 1000

export class Counting {
  readonly #ledgers = new Map<string, Ledger>()
  readonly #sums: Sums

  constructor(private readonly host: CountingHost) {
    this.#sums = new Sums(host.connection, (replica, key, count, taken) => {
      this.ledger(replica.map).seen(key, taken)
      this.keep(replica.map, key)
      host.batch(() => replica.told([count === undefined ? { key, deleted: true } : { key, count }]))
    })
  }

  ledger(map: string): Ledger {
    let ledger = this.#ledgers.get(map)
    if (!ledger) {
      ledger = new Ledger(
        this.host.name,
        () => Date.now(),
        // The rest is for totals that wait for a connection.
        () => (this.host.retentionMs() ?? RETENTION_MS) / 4,
      )
      this.#ledgers.set(map, ledger)
    }
    return ledger
  }

  rules(map: string): Rules<CounterCell, number> {
    return counterRules(this.ledger(map))
  }

  /** Takes a slot that was kept. */
  restore({ map, key, slot }: KeptSlot): void {
    this.ledger(map).slots.set(key, slot)
  }

  *slots(): Iterable<KeptSlot> {
    for (const [map, ledger] of this.#ledgers) for (const [key, slot] of ledger.slots) yield { map, key, slot }
  }

  /**
   * Totals that the server has yet to take. Of a slot that was restored the write may be another tab's now; to send it
   * once more costs nothing, and tells here that it was taken.
   */
  *untaken(): Iterable<Operation> {
    for (const { map, key, slot } of this.slots()) {
      const { replica, added, subtracted, takenAdded, takenSubtracted } = slot
      if (added > takenAdded || subtracted > takenSubtracted) {
        yield { map, key, op: 'increment', replica, added, subtracted }
      }
    }
  }

  keep(map: string, key: string): void {
    const slot = this.ledger(map).slots.get(key)
    if (slot) this.host.changed({ map, key, slot })
  }

  /** The server has taken these totals; `then` is called before their sum is asked for. */
  taken(replica: Replica, op: Operation, then: () => void): void {
    const ledger = this.ledger(op.map)
    if (op.op === 'increment') ledger.taken(op.key, op)
    this.keep(op.map, op.key)
    then()
    this.#sums.read(replica, op.key, ledger)
  }

  /** The map is as the server has it: what was taken by an earlier connection is in no sum yet. */
  synced(replica: Replica): void {
    this.#sums.synced(replica, this.ledger(replica.map))
  }
}
