// The one order of all values, and of rows by some of their fields (docs/queries.md).

import { compareText } from '../canonical'

/** Missing, null, false and true, numbers, texts, arrays, objects. */
function rankOf(value: unknown): number {
  if (value === undefined) return 0
  if (value === null) return 1
  if (typeof value === 'boolean') return 2
  if (typeof value === 'number') return 3
  if (typeof value === 'string') return 4
  return Array.isArray(value) ? 5 : 6
}

export function compareValues(a: unknown, b: unknown): number {
  const rank = rankOf(a)
  const difference = rank - rankOf(b)
  if (difference !== 0 || rank < 2) return difference
  if (rank < 4) return Number(a) - Number(b)
  if (rank === 4) return compareText(a as string, b as string)
  return rank === 5 ? compareLists(a as unknown[], b as unknown[]) : compareLists(membersOf(a), membersOf(b))
}

/** Element by element; one that is the beginning of another is before it. */
function compareLists(a: unknown[], b: unknown[]): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const order = compareValues(a[i], b[i])
    if (order !== 0) return order
  }
  return a.length - b.length
}

/** The first name, its value, the second name, and so on, by the bytes of the names. */
function membersOf(value: unknown): unknown[] {
  return Object.entries(value as object)
    .sort(([a], [b]) => compareText(a, b))
    .flat()
}

/** Reads the field at a path such as `a.b`. */
export function fieldOf(path: string): (value: unknown) => unknown {
  const names = path.split('.')
  return value => {
    for (const name of names) {
      if (value === null || typeof value !== 'object' || Array.isArray(value) || !Object.hasOwn(value, name))
        return undefined
      value = (value as { [name: string]: unknown })[name]
    }
    return value
  }
}

/** A row of a query, with the fields that it is sorted by as they were when it came. */
export interface Row<T> {
  key: string
  value: T
  by: unknown[]
}

/** Sorts by fields, `-` before a name turning it around, and then by key. */
export function sorting<T>(sort: readonly string[]): {
  fields(value: T): unknown[]
  compare(a: Row<T>, b: Row<T>): number
} {
  const by = sort.map(name => ({ field: fieldOf(name.replace(/^-/, '')), sign: name.startsWith('-') ? -1 : 1 }))
  return {
    fields: value => by.map(({ field }) => field(value)),
    compare(a, b) {
      for (let i = 0; i < by.length; i++) {
        const order = compareValues(a.by[i], b.by[i])
        if (order !== 0) return order * (by[i] as { sign: number }).sign
      }
      return compareText(a.key, b.key)
    },
  }
}
