// The last writer wins (docs/protocol.md, Merging).

import { canonical, compareText } from '../canonical'
import { compareStamps, parseStamp } from '../clock'
import type { Entry, LwwEntry, Operation } from '../wire'
import type { Rules } from './rules'

export interface LwwCell {
  at: string
  deleted: boolean
  value: unknown
  /** When the value ends, in Unix milliseconds. */
  expiresAt: number | undefined
  /** Written here and taken by the server, which may have made something else of it: what it tells counts. */
  isOwn: boolean
}

/** Which of two states of a key is greater. */
export function compareCells(a: LwwCell, b: LwwCell): number {
  return (
    compareStamps(a.at, b.at) ||
    Number(a.deleted) - Number(b.deleted) ||
    // A value that ends is greater than one that does not, and a later end greater than an earlier one.
    (a.deleted ? 0 : (a.expiresAt ?? 0) - (b.expiresAt ?? 0) || compareText(canonical(a.value), canonical(b.value)))
  )
}

export function cellOfEntry(entry: LwwEntry & { own?: boolean }): LwwCell {
  return {
    at: entry.at,
    deleted: entry.deleted === true,
    value: entry.value,
    expiresAt: entry.expires_at,
    isOwn: entry.own === true,
  }
}

function cellOfOperation(op: Operation): LwwCell {
  if (op.op === 'set') {
    const expiresAt = op.ttl_ms === undefined ? undefined : parseStamp(op.at).millis + op.ttl_ms
    return { at: op.at, deleted: false, value: op.value, expiresAt, isOwn: true }
  }
  if (op.op === 'delete') return { at: op.at, deleted: true, value: undefined, expiresAt: undefined, isOwn: true }
  throw new Error(`${op.op} is no operation of an lww map`)
}

/** The greater of two; the first where they are equal. */
function greater(a: LwwCell | undefined, b: LwwCell): LwwCell {
  return a && compareCells(a, b) >= 0 ? a : b
}

function overlaid(cell: LwwCell | undefined, ops: readonly Operation[]): LwwCell | undefined {
  for (const op of ops) cell = greater(cell, cellOfOperation(op))
  return cell
}

export const lwwRules: Rules<LwwCell, unknown> = {
  type: 'lww',
  told(cell, entry) {
    const told = cellOfEntry(entry as LwwEntry)
    if (!cell?.isOwn || cell.at !== told.at) return greater(cell, told)
    // The same value stays the same object, so that nobody is told of a change that is none.
    if (!told.deleted && !cell.deleted && canonical(cell.value) === canonical(told.value)) told.value = cell.value
    return told
  },
  taken: (cell, op) => greater(cell, cellOfOperation(op)),
  shown(cell, ops, _key, now) {
    const top = overlaid(cell, ops)
    return !top || top.deleted || (top.expiresAt !== undefined && top.expiresAt <= now) ? undefined : top.value
  },
  same: (a, b) => a === b,
  endsAt(cell, ops) {
    const top = overlaid(cell, ops)
    return top?.deleted ? undefined : top?.expiresAt
  },
  save(key, cell) {
    return {
      key,
      at: cell.at,
      ...(cell.deleted ? { deleted: true } : { value: cell.value }),
      ...(cell.expiresAt === undefined ? {} : { expires_at: cell.expiresAt }),
      ...(cell.isOwn ? { own: true } : {}),
    } as Entry
  },
  stampsOf: entry => [(entry as LwwEntry).at],
}
