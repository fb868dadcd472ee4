// Has the sums of counters told that have what was counted through this connection (`Ledger`): the server tells a
// connection what others count, and not what it has counted itself.

import type { Connection } from '../connection/connection'
import type { Ledger } from './ledger'
import type { Replica } from './replica'

export interface Taken {
  added: number
  subtracted: number
}

export class Sums {
  /** Keys of which a sum is owed, until it has come. `again`: what is on its way may lack something. */
  readonly #owed = new Map<Replica, Map<string, { isAsked: boolean; again: boolean }>>()

  constructor(
    private readonly connection: Connection,
    /** The sum has come, and what is in it. */
    private readonly told: (replica: Replica, key: string, count: number | undefined, taken: Taken) => void,
  ) {}

  /** The server has taken something: asks for the sum. */
  read(replica: Replica, key: string, ledger: Ledger): void {
    let keys = this.#owed.get(replica)
    if (!keys) this.#owed.set(replica, (keys = new Map()))
    const known = keys.get(key)
    if (known?.isAsked) {
      known.again = true
      return
    }
    const owed = { isAsked: false, again: false }
    keys.set(key, owed)
    // Nobody looks: it is asked for with the rest of the map, once somebody does.
    if (replica.viewers.size === 0) return
    owed.isAsked = true
    // A change that comes meanwhile may be newer than the answer, or lack what was taken.
    const viewer = { touched: (other: string) => void (owed.again ||= other === key) }
    replica.viewers.add(viewer)
    const taken = ledger.takenOf(key)
    this.connection.ask({ type: 'read', map: replica.map, keys: [key] }, (error, answer) => {
      replica.viewers.delete(viewer)
      owed.isAsked = false
      // Without an answer it is asked for again once the map is synced.
      if (error) return
      keys.delete(key)
      if (owed.again) this.read(replica, key, ledger)
      else this.told(replica, key, answer?.entries[0]?.count, taken)
    })
  }

  /** The map is as the server has it, but for what is owed. */
  synced(replica: Replica, ledger: Ledger): void {
    const keys = new Set([...(this.#owed.get(replica)?.keys() ?? []), ...ledger.unread()])
    for (const key of keys) this.read(replica, key, ledger)
  }
}
