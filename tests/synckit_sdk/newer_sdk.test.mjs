// What only the newer SDK does: batches, texts, counters, sets and presence; beside the older one in one document.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { connect, eventually, open, show } from './client.mjs'
import { CODES, connectFrames } from './frames.mjs'
import { startServer } from './server.mjs'

const ID = 'room:newer'

test('both generations of the SDK edit one document', async t => {
  const server = await startServer(t)
  const older = await open(await connect(t, server, 'client-older'), ID)
  const newer = await connectFrames(t, server, 'client-newer', ID)
  await newer.write(
    { type: 'set', field: 'title', value: 'from the newer' },
    { type: 'set', field: 'nested', value: { a: [null] } },
  )
  await show([older], { title: 'from the newer', nested: { a: [null] } })
  await older.set('title', 'from the older')
  const { clock } = await newer.hears(CODES.delta, { field: 'title', value: 'from the older' })
  assert.ok(Number.isSafeInteger(clock.server), JSON.stringify(clock))
})

// The state of a text is opaque to the server: it must keep what each client has sent last.
test('texts written at once are all kept, through a restart, too', async t => {
  const server = await startServer(t, { onDisk: true })
  const writers = [await connectFrames(t, server, 'client-ann', ID), await connectFrames(t, server, 'client-bob', ID)]
  const [ann, bob] = writers
  await Promise.all(writers.map(writer => writer.write(text(writer.clientId, 1))))
  await ann.write(text('client-ann', 2))
  const kept = [text('client-ann', 2).state, text('client-bob', 1).state].sort()
  await eventually('Bob has the text of Ann', () => states(bob).includes(text('client-ann', 2).state), true)
  await eventually('Ann has the text of Bob', () => states(ann).includes(text('client-bob', 1).state), true)

  const late = await connectFrames(t, server, 'client-late', ID)
  await eventually('who comes later has both', () => states(late).sort(), kept)
  await server.stop()
  await server.startAgain()
  const reader = await connectFrames(t, server, 'client-reader', ID)
  await eventually('they are there after a restart', () => states(reader).sort(), kept)
})

// The SDK adds whatever it hears: a count that came twice, or back to its sender, would count double.
test('steps of counters reach every other client once, those of sets everybody', async t => {
  const server = await startServer(t)
  const [ann, bob, cid] = await Promise.all(
    ['client-ann', 'client-bob', 'client-cid'].map(clientId => connectFrames(t, server, clientId, ID)),
  )
  const steps = [
    { type: 'counter', operation: 'increment', value: 2 },
    { type: 'counter', operation: 'decrement', value: 1 },
    { type: 'set', operation: 'add', value: 'red' },
    { type: 'set', operation: 'remove', value: 'red' },
  ]
  await ann.write(...steps)
  const [counted, changed] = [steps.slice(0, 2), steps.slice(2)]
  const ofSet = client => heardSteps(client).filter(({ type }) => type === 'set')
  const ofCounter = client => heardSteps(client).filter(({ type }) => type === 'counter')
  for (const client of [bob, cid]) await eventually(`${client.clientId} has counted`, () => ofCounter(client), counted)
  for (const client of [ann, bob, cid]) await eventually(`${client.clientId} has the set`, () => ofSet(client), changed)
  // Whatever else the steps caused has come before this.
  await ann.write({ type: 'set', field: 'end', value: true })
  for (const client of [ann, bob, cid]) await client.hears(CODES.delta, { field: 'end' })
  for (const client of [bob, cid]) {
    assert.equal(heardSteps(client).length, steps.length, client.clientId)
    const counters = client.operations().filter(({ type }) => type === 'counter')
    assert.ok(counters.every(({ clientId }) => clientId === 'client-ann'))
  }
  assert.deepEqual(ofCounter(ann), [], 'the sender has counted already')
  assert.ok([ann, bob, cid].every(client => client.operations().every(({ type, clientId }) => type !== 'set' || clientId === 'server')))
})

test('presence goes both ways and ends with the connection', async t => {
  const server = await startServer(t)
  const ann = await connectFrames(t, server, 'client-ann', ID)
  const bob = await connectFrames(t, server, 'client-bob', ID)
  ann.present({ name: 'Ann', at: [1, 2] }, 1)
  const seen = await bob.hears(CODES.awarenessUpdate, { clientId: 'client-ann', clock: 1 })
  assert.deepEqual(seen.state, { name: 'Ann', at: [1, 2] })
  bob.present({ name: 'Bob' }, 1)
  await ann.hears(CODES.awarenessUpdate, { clientId: 'client-bob', clock: 1 })

  const late = await connectFrames(t, server, 'client-late', ID)
  const [{ states }] = late.all(CODES.awarenessState)
  assert.deepEqual(states.map(({ clientId }) => clientId).sort(), ['client-ann', 'client-bob'])

  ann.socket.terminate()
  for (const client of [bob, late]) {
    const { clock } = await client.hears(CODES.awarenessUpdate, { clientId: 'client-ann', state: null })
    assert.ok(clock > 1, 'the SDK ignores an older clock')
  }
  bob.present(null, 2)
  await late.hears(CODES.awarenessUpdate, { clientId: 'client-bob', state: null })
})

/// A text after `edits` edits of a client, as the SDK sends it.
function text(clientId, edits) {
  const block = edit => {
    const id = { client_id: clientId, clock: edit, offset: 0 }
    return [id, { id, text: `edit ${edit}`, left_origin: null, right_origin: null, deleted: false }]
  }
  const blocks = Array.from({ length: edits }, (_, index) => block(index + 1))
  return { type: 'text-state', state: JSON.stringify({ blocks, clock: { value: edits }, client_id: clientId }) }
}

/// The newest state of each client that was heard, whether with the subscription or since.
function states(client) {
  const newest = new Map(client.operations().map(({ clientId, state }) => [clientId, state]))
  const withSubscription = client.all(CODES.syncResponse).map(({ textState }) => textState)
  return [...new Set([...newest.values(), ...withSubscription])].filter(state => state !== undefined)
}

function heardSteps(client) {
  return client.operations().map(({ type, operation, value }) => ({ type, operation, value }))
}
