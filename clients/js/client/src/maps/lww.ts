// The last writer wins (docs/protocol.md, Merging).

import { canonical, compareText } from '../canonical'
import { compareStamps, parseStamp } from '../clock'
import type { Entry, LwwEntry, Operation } from '../wire'
import type { Rules } from './rules'

/** An entry as it was told. It is never changed. */
export interface LwwCell extends LwwEntry {
  /** Written here and taken by the server, which may have made something else of it: what it tells counts. */
  own?: true
}

/** Which of two states of a key is greater. */
export function compareCells(a: LwwCell, b: LwwCell): number {
  return (
    compareStamps(a.at, b.at) ||
    Number(a.deleted ?? false) - Number(b.deleted ?? false) ||
    // A value that ends is greater than one that does not, and a later end greater than an earlier one.
    (a.deleted ? 0 : (a.expires_at ?? 0) - (b.expires_at ?? 0) || compareText(canonical(a.value), canonical(b.value)))
  )
}

function cellOfOperation(op: Operation): LwwCell {
  const { key } = op
  if (op.op === 'set') {
    const cell: LwwCell = { key, value: op.value, at: op.at, own: true }
    if (op.ttl_ms !== undefined) cell.expires_at = parseStamp(op.at).millis + op.ttl_ms
    return cell
  }
  if (op.op === 'delete') return { key, deleted: true, at: op.at, own: true }
  throw new Error(`${op.op} is no operation of an lww map`)
}

/** The greater of two; the first where they are equal. */
function greater(a: LwwCell | undefined, b: LwwCell): LwwCell {
  return a && compareCells(a, b) >= 0 ? a : b
}

function overlaid(cell: LwwCell | undefined, ops: readonly Operation[]): LwwCell | undefined {
  for (let i = 0; i < ops.length; i++) cell = greater(cell, cellOfOperation(ops[i] as Operation))
  return cell
}

export const lwwRules: Rules<LwwCell, unknown> = {
  type: 'lww',
  told(cell, entry) {
    const told = entry as LwwCell
    if (!cell?.own || cell.at !== told.at) return greater(cell, told)
    // The same value stays the same object, so that nobody is told of a change that is none.
    const isSame = !told.deleted && !cell.deleted && canonical(cell.value) === canonical(told.value)
    return isSame ? { ...told, value: cell.value } : told
  },
  taken: (cell, op) => greater(cell, cellOfOperation(op)),
  shown(cell, ops, _key, now) {
    const top = overlaid(cell, ops)
    return !top || top.deleted || (top.expires_at !== undefined && top.expires_at <= now()) ? undefined : top.value
  },
  same: (a, b) => a === b,
  endsAt(cell, ops) {
    const top = overlaid(cell, ops)
    return top?.deleted ? undefined : top?.expires_at
  },
  save: (_key, cell) => cell as Entry,
  observe: (entry, see) => see((entry as LwwEntry).at),
}
