// Connections that break and servers that start again.

import { test } from 'node:test'

import { agree, connect, cut, eventually, open, openAnew, show } from './client.mjs'
import { startServer } from './server.mjs'

const ID = 'room:reconnecting'

async function pair(t, server) {
  const kits = [await connect(t, server, 'client-ann'), await connect(t, server, 'client-bob')]
  const [ann, bob] = [await open(kits[0], ID), await open(kits[1], ID)]
  return { kits, ann, bob }
}

/// Waits until no client has a connection it could write to.
async function offline(kits) {
  for (const kit of kits) await eventually('offline', () => kit.websocket.isConnected(), false)
}

test('a client whose connection is cut comes back and sees what it missed', async t => {
  const server = await startServer(t)
  const { kits, ann, bob } = await pair(t, server)
  await ann.update({ kept: 1, changed: 1 })
  for (let round = 2; round < 5; round++) {
    cut()
    const writer = await openAnew(t, server, ID)
    await writer.set('changed', round)
    await show([ann, bob], { kept: 1, changed: round })
  }
  await bob.set('kept', 2)
  await show([ann, bob], { kept: 2, changed: 4 })
  for (const kit of kits) await eventually('nothing waits', () => kit.getNetworkStatus().queueSize, 0)
})

test('what is written offline is shown at once and reaches the others later', async t => {
  const server = await startServer(t, { onDisk: true })
  const { kits, ann, bob } = await pair(t, server)
  await bob.set('theirs', 'Bob, online')
  await show([ann], { theirs: 'Bob, online' })
  await ann.set('mine', 'Ann, online')
  await show([ann, bob], { theirs: 'Bob, online', mine: 'Ann, online' })

  await server.stop()
  await offline(kits)
  await ann.set('mine', 'Ann, offline')
  await ann.set('new', [1, 2, 3])
  const fields = { theirs: 'Bob, online', mine: 'Ann, offline', new: [1, 2, 3] }
  await show([ann], fields)

  await server.startAgain()
  await show([ann, bob, await openAnew(t, server, ID)], fields)
})

test('the state is there after a restart, and clients converge', async t => {
  const server = await startServer(t, { onDisk: true })
  const { kits, ann, bob } = await pair(t, server)
  await ann.update({ title: 'before', nested: { a: [null] }, none: null })
  await bob.set('count', 1)
  const before = { title: 'before', nested: { a: [null] }, none: null, count: 1 }
  await show([ann, bob], before)

  for (let restart = 1; restart <= 3; restart++) {
    await server.stop()
    await offline(kits)
    await server.startAgain()
    await show([ann, bob, await openAnew(t, server, ID)], { ...before, count: restart })
    await bob.set('count', restart + 1)
    await show([ann, bob], { ...before, count: restart + 1 })
  }
  await Promise.all([ann.set('title', 'Ann, after'), bob.set('title', 'Bob, after')])
  await agree([ann, bob, await openAnew(t, server, ID)], 'title', ['Ann, after', 'Bob, after'])
})

// It is met by several connections of each client, which all stay: see `connect`.
test('clients of a server that was away for long all come back', async t => {
  const server = await startServer(t, { onDisk: true })
  const { kits, ann, bob } = await pair(t, server)
  await ann.set('a', 1)
  await server.stop()
  await offline(kits)
  await eventually('a few attempts failed', () => kits.every(kit => kit.websocket.reconnectAttempts > 6), true)
  await server.startAgain()
  await show([ann, bob], { a: 1 })
  for (let n = 2; n < 6; n++) {
    await ann.set('a', n)
    await bob.set('b', n)
    await show([ann, bob], { a: n, b: n })
  }
})
