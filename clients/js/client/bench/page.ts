// What a page does to measure the client, step by step. `chromium.mjs` opens one, and has it take them.

import { Annulus } from '../src'
import { asking, changes } from '../test/many'

const { items, texts, say } = await asking(Annulus)
const some = changes(4000)

/** Milliseconds that a step takes. */
type Step = () => number

function msOf(work: () => void): number {
  const before = performance.now()
  work()
  return performance.now() - before
}

const steps: { [name: string]: Step } = {
  'the texts of a snapshot, parsed': () =>
    msOf(() => {
      for (const text of texts) JSON.parse(text)
    }),
  'the snapshot, applied': () => msOf(() => texts.forEach(say)),
  'its keys, put in order': () => msOf(() => void items.keys().next()),
  'two queries, begun': () =>
    msOf(() => {
      items.query({ where: { done: false }, sort: ['-priority'], limit: 50 }).subscribe(() => undefined)
      items.query({ where: { priority: { ge: 5 } }, sort: ['priority', 'title'] }).subscribe(() => undefined)
    }),
  'one change, with order, queries and listeners': () => {
    items.subscribe('item-7', () => undefined)
    items.subscribe(() => undefined)
    return msOf(() => some.forEach(say)) / some.length
  },
}

Object.assign(globalThis, { steps })
