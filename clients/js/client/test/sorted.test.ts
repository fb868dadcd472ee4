// The sorted list and queries against the plain way to have the same, over random changes.

import { expect, test } from 'vitest'
import { compareText } from '../src/canonical'
import { Batch } from '../src/maps/batch'
import type { Change } from '../src/maps/view'
import { Query } from '../src/query/query'
import { Sorted } from '../src/sorted'
import { Random } from './random'

test('a sorted list has what an array that is sorted each time has', () => {
  const random = new Random(1)
  const list = new Sorted<number>((a, b) => a - b)
  let plain = Array.from({ length: 300 }, (_, i) => i * 7)
  list.fill([...plain])
  for (let i = 0; i < 6000; i++) {
    const item = random.below(3000)
    if (plain.includes(item) && random.below(5) < 2) {
      expect(list.remove(item)).toBe(true)
      plain = plain.filter(other => other !== item)
    } else if (!plain.includes(item)) {
      expect(list.remove(item)).toBe(false)
      list.add(item)
      plain.push(item)
    }
    if (i % 500 !== 0) continue
    plain.sort((a, b) => a - b)
    expect([...list.from()]).toEqual(plain)
    expect([...list.from(item)]).toEqual(plain.filter(other => other >= item))
    expect(list.slice(100, 400)).toEqual(plain.slice(100, 400))
    expect([list.size, list.first(), list.at(250)]).toEqual([plain.length, plain[0], plain[250]])
  }
  for (const item of plain) list.remove(item)
  expect([list.size, [...list.from()]]).toEqual([0, []])
})

test('texts are in the order of their UTF-8 bytes', () => {
  const texts = ['', 'a', 'ab', 'b', 'é', '\ud7ff', '\ue000', '\uffff', '😀', '😀a', '😁']
  const bytes = (text: string) => Buffer.from(text)
  for (const a of texts) {
    for (const b of texts) expect(Math.sign(compareText(a, b))).toBe(Math.sign(Buffer.compare(bytes(a), bytes(b))))
  }
})

test('a query has what filtering and sorting everything has, and tells when that changes', () => {
  type Row = { done: boolean; priority: number; due?: string }
  const random = new Random(2)
  const rows = new Map<string, Row>()
  const followers = new Set<(changes: readonly Change<Row>[]) => void>()
  const options = { where: { done: false, priority: { ge: 2 } }, sort: ['due', '-priority'], offset: 3, limit: 10 }
  const query = new Query<Row>([], options, followers, new Batch())
  const expected = () =>
    [...rows]
      .filter(([, row]) => !row.done && row.priority >= 2)
      .sort(
        ([a, x], [b, y]) =>
          Number(x.due !== undefined) - Number(y.due !== undefined) ||
          compareText(x.due ?? '', y.due ?? '') ||
          y.priority - x.priority ||
          compareText(a, b),
      )
      .slice(3, 13)
  let told = 0
  query.subscribe(() => told++)
  for (let i = 0; i < 3000; i++) {
    const before = JSON.stringify(query.rows)
    const count = told
    const changes: Change<Row>[] = []
    for (let n = random.below(3); n >= 0; n--) {
      const key = `k${random.below(100)}`
      const due = random.below(3) > 0 ? { due: `d${random.below(5)}` } : {}
      const value = random.below(4) > 0 ? { done: random.below(3) === 0, priority: random.below(6), ...due } : undefined
      if (changes.some(change => change.key === key)) continue
      changes.push({ key, value, before: rows.get(key) })
      if (value) rows.set(key, value)
      else rows.delete(key)
    }
    for (const follower of followers) follower(changes)
    expect(query.rows).toEqual(expected())
    if (JSON.stringify(query.rows) !== before) expect(told).toBe(count + 1)
  }
  query.close()
  expect(followers.size).toBe(0)
})
