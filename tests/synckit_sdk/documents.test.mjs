// Documents edited by several clients at once.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { agree, connect, eventually, open, openAnew, show } from './client.mjs'
import { startServer } from './server.mjs'

async function pair(t, id) {
  const server = await startServer(t)
  const ann = await open(await connect(t, server, 'client-ann'), id)
  const bob = await open(await connect(t, server, 'client-bob'), id)
  return { server, ann, bob }
}

test('what one client sets the other sees, both ways', async t => {
  const { ann, bob } = await pair(t, 'room:both-ways')
  await ann.set('title', 'from Ann')
  await show([ann, bob], { title: 'from Ann' })
  await bob.set('reply', 'from Bob')
  await show([ann, bob], { title: 'from Ann', reply: 'from Bob' })
  await bob.update({ title: 'from both', done: true })
  await show([ann, bob], { title: 'from both', reply: 'from Bob', done: true })
})

test('values arrive as they were set, nested ones and null, too', async t => {
  const { server, ann, bob } = await pair(t, 'room:values')
  const fields = {
    nested: { list: [1, [2, { three: null }], {}], 'with "quotes"': { deep: { deeper: [[]] } } },
    none: null,
    no: false,
    zero: 0,
    number: -12.5,
    large: Number.MAX_SAFE_INTEGER,
    empty: '',
    text: 'Grüße, 世界 🎉 \u0000 \\ "',
    'a field.with:any name': 1,
  }
  await ann.update(fields)
  await show([ann, bob, await openAnew(t, server, 'room:values')], fields)
  await bob.set('nested', null)
  await bob.set('none', { now: ['something'] })
  const changed = { ...fields, nested: null, none: { now: ['something'] } }
  await show([ann, bob, await openAnew(t, server, 'room:values')], changed)
})

// The SDK counts the writes of each client for itself: the tenth of one must not hide the first of the other.
test('a field written in turns by both is seen by the other each time', async t => {
  const { ann, bob } = await pair(t, 'room:turns')
  for (let turn = 0; turn < 10; turn++) {
    await ann.set('ball', `Ann ${turn}`)
    await show([bob, ann], { ball: `Ann ${turn}` })
    await bob.set('ball', `Bob ${turn}`)
    await show([ann, bob], { ball: `Bob ${turn}` })
  }
  for (let lead = 0; lead < 5; lead++) await ann.set('ball', `Ann leads ${lead}`)
  await bob.set('ball', 'Bob, at last')
  await show([ann, bob], { ball: 'Bob, at last' })
})

// The SDK compares what it writes with what it was told by its own counter: that must not be behind, whoever wrote last.
test('what a client writes shows at once, whoever wrote the field before, offline, too', async t => {
  const { server, ann, bob } = await pair(t, 'room:at-once')
  const kits = [ann, bob]
  for (const document of kits) await document.set('ball', `${document.clientId} begins`)
  await agree(kits, 'ball', ['client-bob begins'])
  const missed = []
  for (let turn = 0; turn < 40; turn++) {
    const [writer, reader] = turn % 2 ? [ann, bob] : [bob, ann]
    const written = writer.set('ball', turn)
    if (writer.get().ball !== turn) missed.push(turn)
    await written
    await show([reader], { ball: turn })
  }
  assert.deepEqual(missed, [], 'writes that did not show at once')
  // The last of both was Ann's: what Bob writes without a server must show nevertheless.
  await server.stop()
  for (let turn = 0; turn < 40; turn++) {
    bob.set('ball', `offline ${turn}`).catch(() => {})
    if (bob.get().ball !== `offline ${turn}`) missed.push(turn)
  }
  assert.deepEqual(missed, [], 'writes that did not show offline')
})

test('clients that write one field at once agree on it', async t => {
  const { server, ann, bob } = await pair(t, 'room:race')
  for (let round = 0; round < 5; round++) {
    await Promise.all([ann.set('x', `Ann ${round}`), bob.set('x', `Bob ${round}`)])
    await agree([ann, bob, await openAnew(t, server, 'room:race')], 'x', [`Ann ${round}`, `Bob ${round}`])
  }
})

test('whoever comes later gets the state, and then what changes', async t => {
  const { server, ann } = await pair(t, 'room:later')
  await ann.update({ a: 1, b: 2 })
  await ann.set('a', 3)
  const late = await openAnew(t, server, 'room:later')
  await show([late], { a: 3, b: 2 })
  await ann.set('c', 4)
  await show([late], { a: 3, b: 2, c: 4 })
  await late.set('a', 5)
  await show([ann, late], { a: 5, b: 2, c: 4 })
})

test('a document can be synchronized by hand', async t => {
  const server = await startServer(t)
  const kit = await connect(t, server, 'client-ann')
  const document = await open(kit, 'room:by-hand')
  await document.set('a', 1)
  await kit.syncDocument('room:by-hand')
  await show([document], { a: 1 })
})

test('a hundred documents stay apart', async t => {
  const server = await startServer(t)
  const ids = Array.from({ length: 100 }, (_, n) => `room:${n}`)
  const [ann, bob] = await Promise.all(
    ['client-ann', 'client-bob'].map(async clientId => {
      const kit = await connect(t, server, clientId)
      return Promise.all(ids.map(id => open(kit, id)))
    }),
  )
  await Promise.all(ann.map((document, n) => document.set('n', n)))
  await Promise.all(bob.map((document, n) => document.set('square', n * n)))
  for (let n = 0; n < ids.length; n++) await show([ann[n], bob[n]], { n, square: n * n })
})

test('a client that left does not disturb the others', async t => {
  const { server, ann, bob } = await pair(t, 'room:leaving')
  const kit = await connect(t, server, 'client-cid')
  const cid = await open(kit, 'room:leaving')
  await cid.set('by', 'Cid')
  kit.dispose()
  await eventually('Cid has left', () => kit.isInitialized(), false)
  await ann.set('by', 'Ann')
  await show([ann, bob], { by: 'Ann' })
})
