// A query as the server reads it (docs/queries.md).

import type { QueryOptions } from '../query/query'
import type { Where } from '../query/where'

/** The names of conditions that are others there. */
const NAMES: { [name: string]: string } = { gte: 'ge', lte: 'le' }

export function queryOf({ where, sort, limit, offset }: QueryOptions<never>): object {
  return { ...(where === undefined ? {} : { where: whereOf(where) }), sort, limit, offset }
}

function whereOf(where: Where): object {
  return Object.fromEntries(
    Object.entries(where).map(([name, operand]) => {
      if (name === 'and' || name === 'or') return [name, (operand as Where[]).map(whereOf)]
      if (name === 'not') return [name, whereOf(operand as Where)]
      return [name, conditionsOf(operand)]
    }),
  )
}

function conditionsOf(operand: unknown): unknown {
  if (operand === null || typeof operand !== 'object') return operand
  // A list is a value, and with conditions in an object it cannot be taken for them.
  if (Array.isArray(operand)) return { eq: operand }
  return Object.fromEntries(Object.entries(operand).map(([name, value]) => [NAMES[name] ?? name, value]))
}
