// Has the sums of counters told that have what was counted here (`Ledger`).

import type { Connection } from '../connection/connection'
import type { Ledger } from './ledger'
import type { Replica } from './replica'

export class Sums {
  /** Counters that are being read, by map and key. */
  readonly #reading = new Set<string>()

  constructor(
    private readonly connection: Connection,
    /** The sum has come, and what is in it. */
    private readonly told: (replica: Replica, key: string, count: number | undefined, taken: Taken) => void,
  ) {}

  /**
   * Reads a counter of which the server has taken something. A change that comes meanwhile may be newer than the
   * answer, or lack what was taken: then it is read again.
   */
  read(replica: Replica, key: string, ledger: Ledger): void {
    const name = JSON.stringify([replica.map, key])
    if (replica.viewers.size === 0 || this.#reading.has(name)) return
    let isStale = false
    const viewer = { touched: (other: string) => void (isStale ||= other === key) }
    this.#reading.add(name)
    replica.viewers.add(viewer)
    const taken = ledger.takenOf(key)
    this.connection.ask({ type: 'read', map: replica.map, keys: [key] }, (error, answer) => {
      replica.viewers.delete(viewer)
      this.#reading.delete(name)
      // After `connection_lost` it is read once the map is synced again.
      if (error) return
      if (!isStale) this.told(replica, key, answer?.entries[0]?.count, taken)
      if (ledger.isUnread(key)) this.read(replica, key, ledger)
    })
  }
}

export interface Taken {
  added: number
  subtracted: number
}
