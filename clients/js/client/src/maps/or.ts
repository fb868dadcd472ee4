// Sets of tagged values: what is added stays until that very addition is removed (docs/protocol.md, Merging).

import { canonical, compareText } from '../canonical'
import { compareStamps } from '../clock'
import type { Operation, OrEntry } from '../wire'
import type { Rules } from './rules'

interface Tagged {
  value: unknown
  at: string
}

export interface OrCell {
  live: Map<string, Tagged>
  removed: Set<string>
}

function add(cell: OrCell, tag: string, told: Tagged): void {
  if (cell.removed.has(tag)) return
  const kept = cell.live.get(tag)
  const order = kept ? compareStamps(kept.at, told.at) || compareText(canonical(kept.value), canonical(told.value)) : -1
  if (order < 0) cell.live.set(tag, { value: told.value, at: told.at })
}

function remove(cell: OrCell, tag: string): void {
  cell.live.delete(tag)
  cell.removed.add(tag)
}

function carryOut(cell: OrCell, op: Operation): void {
  if (op.op === 'add') add(cell, op.tag, { value: op.value, at: op.at })
  else if (op.op === 'remove') for (const tag of op.tags) remove(cell, tag)
  else throw new Error(`${op.op} is no operation of a set`)
}

const empty = (): OrCell => ({ live: new Map(), removed: new Set() })

function overlaid(cell: OrCell | undefined, ops: readonly Operation[]): OrCell | undefined {
  if (ops.length === 0) return cell
  const copy: OrCell = { live: new Map(cell?.live), removed: new Set(cell?.removed) }
  for (const op of ops) carryOut(copy, op)
  return copy
}

/** The tags that are live here, with their values. */
export function liveTags(cell: OrCell | undefined, ops: readonly Operation[]): [tag: string, value: unknown][] {
  return [...(overlaid(cell, ops)?.live ?? [])].map(([tag, { value }]) => [tag, value])
}

export const orRules: Rules<OrCell, readonly unknown[]> = {
  type: 'or',
  told(cell = empty(), entry) {
    const { values = [], removed = [] } = entry as OrEntry
    for (const { tag, value, at } of values) add(cell, tag, { value, at })
    for (const tag of removed) remove(cell, tag)
    return cell
  },
  taken(cell = empty(), op) {
    carryOut(cell, op)
    return cell
  },
  shown(cell, ops) {
    const live = [...(overlaid(cell, ops)?.live ?? [])]
    if (live.length === 0) return undefined
    live.sort(([a, x], [b, y]) => compareStamps(x.at, y.at) || compareText(a, b))
    // Two additions of one value are one element.
    const values = new Map<string, unknown>()
    for (const [, { value }] of live) {
      const text = canonical(value)
      if (!values.has(text)) values.set(text, value)
    }
    return [...values.values()]
  },
  same: (a, b) =>
    a.length === b.length && a.every((value, i) => value === b[i] || canonical(value) === canonical(b[i])),
  save(key, cell) {
    const values = [...cell.live].map(([tag, { value, at }]) => ({ tag, value, at }))
    return { key, values, removed: [...cell.removed] }
  },
  observe(entry, see) {
    for (const { at } of (entry as OrEntry).values ?? []) see(at)
  },
}
