// What a page does to measure the client. `chromium.mjs` opens one, and prints what this returns.

import { Annulus } from '../src'
import { asking, changes } from '../test/many'

export interface Measured {
  /** The texts of the snapshot, through `JSON.parse` alone: what no client does without. */
  parseMs: number
  snapshotMs: number
  /** The keys in order, which are sorted when they are first asked for. */
  orderMs: number
  queryMs: number
  /** One change, with order, listeners and two queries. */
  changeUs: number
}

function msOf(work: () => void): number {
  const before = performance.now()
  work()
  return performance.now() - before
}

export async function measure(): Promise<Measured> {
  const { db, items, texts, say } = await asking(Annulus)
  const parseMs = msOf(() => {
    for (const text of texts) JSON.parse(text)
  })
  const snapshotMs = msOf(() => texts.forEach(say))
  const orderMs = msOf(() => void items.keys().next())
  const queryMs = msOf(() => {
    items.query({ where: { done: false }, sort: ['-priority'], limit: 50 }).subscribe(() => undefined)
    items.query({ where: { priority: { ge: 5 } }, sort: ['priority', 'title'] }).subscribe(() => undefined)
  })
  items.subscribe('item-7', () => undefined)
  items.subscribe(() => undefined)
  const all = changes(4000)
  const changeUs = (msOf(() => all.forEach(say)) * 1000) / all.length
  await db.close()
  return { parseMs, snapshotMs, orderMs, queryMs, changeUs }
}

Object.assign(globalThis, { measure })
