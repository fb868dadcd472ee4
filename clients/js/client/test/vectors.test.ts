// Merging is the server's: what `tests/vectors` and `docs/vectors` say of it, and what they say in any other order.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { canonical } from '../src/canonical'
import { Batch } from '../src/maps/batch'
import { compareCells, lwwRules } from '../src/maps/lww'
import { orRules } from '../src/maps/or'
import { Replica } from '../src/maps/replica'
import type { Rules } from '../src/maps/rules'
import { compareValues } from '../src/query/order'
import { Query } from '../src/query/query'
import { compile, type Where } from '../src/query/where'
import type { Entry, LwwEntry, OrEntry } from '../src/wire'
import { Random } from './random'

const root = resolve(import.meta.dirname, '../../../..')
const read = (path: string) => JSON.parse(readFileSync(resolve(root, path), 'utf8'))

interface History {
  map_type: 'lww' | 'or'
  seed: number
  told: Entry[]
  state: Entry[]
}

const { histories } = read('tests/vectors/merging.json') as { histories: History[] }

test.each(histories)(
  'a history of an $map_type map makes one state (seed $seed)',
  ({ map_type, seed, told, state }) => {
    const rules = (map_type === 'lww' ? lwwRules : orRules) as Rules<unknown, unknown>
    const random = new Random(seed)
    for (let round = 0; round < 10; round++) {
      const replica = new Replica('m', rules, () => 0)
      // Some come twice, and all in another order than before.
      const order = round === 0 ? told : random.shuffle([...told, ...told.filter(() => random.below(3) === 0)])
      // In parts, some of which are snapshots that take the place of nothing.
      for (let i = 0; i < order.length; i += 10) {
        const entries = order.slice(i, i + 10)
        if (random.below(2) === 0) replica.change(entries, 'c')
        else replica.snapshot({ entries, more: false, cursor: 'c' }, false)
      }
      const made = [...replica.base].map(([key, cell]) => sorted(rules.save(key, cell)))
      expect(made.sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual(state)
    }
  },
)

function sorted(entry: Entry): Entry {
  const { values, removed } = entry as OrEntry
  values?.sort((a, b) => (a.tag < b.tag ? -1 : 1))
  removed?.sort()
  return entry
}

interface QueryVectors {
  ascending: unknown[]
  equal: [unknown, unknown][]
  values: unknown[]
  where: { matching: number[]; where: Where }[]
  sort: { keys: string[]; sort: string[] }[]
}

const queries = read('docs/vectors/queries.json') as QueryVectors

test('values are in the order that the server has them in', () => {
  const ascending = [undefined, ...queries.ascending]
  expect(ascending.length).toBeGreaterThan(40)
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) expect(Math.sign(compareValues(a, b))).toBe(Math.sign(i - j))
  }
  for (const [a, b] of queries.equal) expect(compareValues(a, b) === 0).toBe(true)
})

test.each(queries.where)('$where matches what it matches on the server', ({ where, matching }) => {
  const test = compile(where)
  expect([...queries.values.keys()].filter(place => test(queries.values[place]))).toEqual(matching)
})

test.each(queries.sort)('sorting by $sort is that of the server', ({ sort, keys }) => {
  const rows = queries.values.map((value, place): [string, unknown] => [`k${place}`, value])
  const query = new Query(rows, { sort }, new Set(), new Batch())
  expect(query.rows.map(([key]) => key)).toEqual(keys)
})

test('of two states of a key the one that wins on the server wins', () => {
  const { ascending } = read('docs/vectors/lww.json') as { ascending: (LwwEntry & { canonical?: string })[] }
  const cells = ascending
  expect(cells.length).toBeGreaterThan(30)
  cells.forEach((a, i) => {
    // Digits that a number of JavaScript does not have are lost.
    const { canonical: text } = ascending[i] as { canonical?: string }
    if (text !== undefined) expect(canonical(a.value)).toBe(text.replace('9007199254740993', '9007199254740992'))
    for (const [j, b] of cells.entries()) expect(Math.sign(compareCells(a, b))).toBe(Math.sign(i - j))
  })
})
