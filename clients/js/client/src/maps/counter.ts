// Counters. The server tells the sum; what was counted here and is not in it yet is added (`Ledger`).

import type { CounterEntry } from '../wire'
import type { Ledger } from './ledger'
import type { Rules } from './rules'

export interface CounterCell {
  /** `undefined`: nobody has counted, or it may not be seen. */
  count: number | undefined
}

export function counterRules(ledger: Ledger): Rules<CounterCell, number> {
  return {
    type: 'counter',
    told: (_cell, entry) => ({ count: (entry as CounterEntry).count }),
    // What was counted stays in the ledger until a sum that has it was told.
    taken: cell => cell ?? { count: undefined },
    shown(cell, ops, key) {
      const own = ledger.unseen(key)
      return cell?.count === undefined && own === 0 && ops.length === 0 ? undefined : (cell?.count ?? 0) + own
    },
    same: (a, b) => a === b,
    save: (key, cell) => (cell.count === undefined ? { key, deleted: true } : { key, count: cell.count }),
    observe: () => undefined,
  }
}
