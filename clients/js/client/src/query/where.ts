// Which values a query wants (docs/queries.md, Conditions).

import { canonical } from '../canonical'
import { compareValues, fieldOf } from './order'

/** A value that a field is held against. */
type Scalar = null | boolean | number | string

export interface Conditions {
  eq?: unknown
  ne?: unknown
  lt?: Scalar
  le?: Scalar
  gt?: Scalar
  ge?: Scalar
  /** The same as `le` and `ge`. */
  lte?: Scalar
  gte?: Scalar
  in?: readonly unknown[]
  nin?: readonly unknown[]
  /** A text that begins so. */
  prefix?: string
  /** A text with this in it, or a list with this element. */
  contains?: unknown
  exists?: boolean
}

/** Conditions by the path of a field (`a.b`), a plain value being short for `eq`. All of them must hold. */
export type Where =
  | { and: readonly Where[] }
  | { or: readonly Where[] }
  | { not: Where }
  | { [path: string]: Conditions | Scalar | readonly unknown[] }

export type Test = (value: unknown) => boolean

const same = (a: unknown, b: unknown) => a !== undefined && compareValues(a, b) === 0

const TESTS: { [name: string]: (field: unknown, operand: never) => boolean } = {
  eq: (field, operand: unknown) => same(field, operand),
  ne: (field, operand: unknown) => !same(field, operand),
  lt: (field, operand: Scalar) => isComparable(field, operand) && compareValues(field, operand) < 0,
  le: (field, operand: Scalar) => isComparable(field, operand) && compareValues(field, operand) <= 0,
  gt: (field, operand: Scalar) => isComparable(field, operand) && compareValues(field, operand) > 0,
  ge: (field, operand: Scalar) => isComparable(field, operand) && compareValues(field, operand) >= 0,
  in: (field, operand: readonly unknown[]) => operand.some(one => same(field, one)),
  nin: (field, operand: readonly unknown[]) => !operand.some(one => same(field, one)),
  prefix: (field, operand: string) => typeof field === 'string' && field.startsWith(operand),
  contains: (field, operand: unknown) =>
    Array.isArray(field)
      ? field.some(one => same(one, operand))
      : typeof field === 'string' && typeof operand === 'string' && field.includes(operand),
  exists: (field, operand: boolean) => (field !== undefined) === operand,
}
TESTS.lte = TESTS.le as never
TESTS.gte = TESTS.ge as never

/** Of the kinds that conditions compare, which numbers, texts, and true and false are. */
function isComparable(field: unknown, operand: unknown): boolean {
  return typeof field === typeof operand && ['number', 'string', 'boolean'].includes(typeof field)
}

/** A test for values, made once. */
export function compile(where: Where | undefined): Test {
  if (where === undefined) return () => true
  const tests = Object.entries(where).map(([name, operand]): Test => {
    if (name === 'and' || name === 'or') {
      const parts = (operand as unknown as Where[]).map(compile)
      return name === 'and' ? value => parts.every(part => part(value)) : value => parts.some(part => part(value))
    }
    if (name === 'not') {
      const part = compile(operand as unknown as Where)
      return value => !part(value)
    }
    return ofField(name, operand as Conditions | Scalar | readonly unknown[])
  })
  return value => tests.every(test => test(value))
}

function ofField(path: string, conditions: Conditions | Scalar | readonly unknown[]): Test {
  const field = fieldOf(path)
  if (conditions === null || typeof conditions !== 'object' || Array.isArray(conditions))
    return value => same(field(value), conditions)
  const tests = Object.entries(conditions).map(([name, operand]) => {
    const test = TESTS[name]
    if (!test) throw new TypeError(`a query knows no condition ${canonical(name)}`)
    return (value: unknown) => test(value, operand as never)
  })
  return value => {
    const found = field(value)
    return tests.every(test => test(found))
  }
}
