// Tabs that share a store: one outbox, one connection, and nothing lost when one of them is closed.

import 'fake-indexeddb/auto'
import { beforeEach, expect, test, vi } from 'vitest'
import { indexedDb, type Options } from '../src'
import { FakeLocks } from './locks'
import { startPeer } from './peer'
import { connect, startServer, until } from './server'
import { SECRET, tokenFor } from './tokens'

const NOBODY = { url: 'ws://127.0.0.1:1/v1' }

beforeEach(() => {
  vi.stubGlobal('navigator', { locks: new FakeLocks() })
  return () => vi.unstubAllGlobals()
})

/** Opens tabs of one origin; the first leads. */
function origin(server: { url: string }, options: Options = {}) {
  const name = `tabs-${Math.random()}`
  return async () => {
    const tab = connect(server, { offline: indexedDb(name), ...options })
    await until(() => tab.state !== 'connecting' || server === NOBODY)
    return tab
  }
}

test('tabs have one connection, and each shows what the others write', async () => {
  const peer = await startPeer()
  const silent = origin(peer)
  await silent()
  await silent()
  expect(peer.came.length).toBe(1)

  const server = await startServer()
  const open = origin(server)
  const [one, two, three] = [await open(), await open(), await open()]
  const outside = connect(server)
  const maps = [one, two, three, outside].map(db => db.map<number>('todos'))
  await Promise.all(maps.map(map => map.synced()))
  for (const [i, map] of maps.entries()) await map.set(`from-${i}`, i)
  for (const map of maps)
    await until(
      () => map.size === 4,
      () => [...map.keys()],
    )
  await maps[1]?.delete('from-3')
  for (const map of maps) await until(() => map.size === 3)

  const sets = [one, two, outside].map(db => db.set<string>('tags'))
  await Promise.all(sets.map(set => set.synced()))
  await Promise.all(sets.map((set, i) => set.add('t', `tag-${i}`)))
  for (const set of sets) await until(() => set.get('t').length === 3)
  await sets[0]?.remove('t', 'tag-1')
  for (const set of sets) await until(() => set.get('t').length === 2)

  const counters = [one, two, outside].map(db => db.counter('views'))
  await Promise.all(counters.map(counter => counter.synced()))
  for (let i = 0; i < 10; i++) for (const counter of counters) counter.increment('page')
  for (const counter of counters)
    await until(
      () => counter.get('page') === 30,
      () => counters.map(c => c.get('page')),
    )
})

test('tabs of one user show one token, and are in rooms and channels together', async () => {
  const server = await startServer({ secret: SECRET })
  let asked = 0
  const token = () => {
    asked += 1
    return tokenFor('anna', 60_000)
  }
  const open = origin(server, { token })
  const [one, two] = [await open(), await open()]
  const bert = connect(server, { token: () => tokenFor('bert', 60_000) })
  await until(() => one.identity?.user === 'anna' && two.identity?.user === 'anna')
  expect(asked).toBe(1)

  const rooms = [one, two, bert].map(db => db.room<string>('doc').join(db === bert ? 'b' : 'a'))
  for (const room of rooms) await until(() => room.count === 2)
  rooms[1]?.update('moved')
  for (const room of rooms) await until(() => room.members.some(({ state }) => state === 'moved'))
  rooms[0]?.leave()
  await new Promise(resolve => setTimeout(resolve, 150))
  expect(rooms[2]?.count).toBe(2)
  rooms[1]?.leave()
  await until(() => rooms[2]?.count === 1)

  const chats = [one, two, bert].map(db => db.channel<string>('chat').join())
  await chats[2]?.publish('hello')
  for (const chat of chats) await until(() => chat.messages.length === 1)
  chats[0]?.leave()
  await chats[1]?.publish('still here')
  await until(() => chats[1]?.messages.length === 2 && chats[2]?.messages.length === 2)
  const heard: unknown[] = []
  for (const tab of [one, two]) tab.on('direct', ({ data }) => heard.push(data))
  await bert.user('anna').send('lunch?')
  await until(() => heard.length === 2)
})

test('when the leader is closed another tab leads, and nothing is lost', async () => {
  const server = await startServer()
  const open = origin(server)
  const [one, two, three] = [await open(), await open(), await open()]
  const maps = [one, two, three].map(db => db.map<number>('todos'))
  const chat = two.channel<string>('chat').join()
  await Promise.all(maps.map(map => map.synced()))
  const writes = Array.from({ length: 30 }, (_, i) => {
    if (i === 10) void one.close()
    return maps[i % 3]?.set(`k${i}`, i)
  })
  await Promise.allSettled(writes)
  await Promise.all([maps[1]?.synced(), maps[2]?.synced()])
  const outside = connect(server)
  const seen = outside.map<number>('todos')
  await seen.synced()
  // What was written to a tab after it was closed was refused; what was written before was kept.
  await until(
    () => [...Array(30).keys()].every(i => seen.get(`k${i}`) === i || (i % 3 === 0 && i >= 10)),
    () => [...seen.keys()],
  )
  await seen.set('later', 1)
  await until(() => maps[1]?.get('later') === 1 && maps[2]?.get('later') === 1)
  await outside.channel<string>('chat').publish('hello')
  await until(() => chat.messages.length === 1)
})

test('what a tab that is gone has left another one sends', async () => {
  const server = await startServer()
  const name = `tabs-${Math.random()}`
  const offline = () => ({ offline: indexedDb(name) })
  const away = connect(NOBODY, offline())
  await until(() => away.state === 'offline')
  const lost = connect(NOBODY, offline())
  lost.map('todos').set('a', 1)
  lost.counter('views').increment('a', 7)
  away.map('todos').set('b', 2)
  await Promise.all([lost.saved(), away.saved()])
  await lost.close()
  await until(
    () => away.pending === 3,
    () => away.pending,
  )
  await away.close()

  const back = connect(server, offline())
  await until(() => back.pending === 0 && back.state === 'open')
  const outside = connect(server)
  await Promise.all([outside.map('todos').synced(), outside.counter('views').synced()])
  expect([...outside.map('todos').keys()]).toEqual(['a', 'b'])
  expect(outside.counter('views').get('a')).toBe(7)
  // Only the leader keeps what was told, and the next one does so from then on.
  const second = connect(server, offline())
  await second.map('todos').synced()
  await back.close()
  await until(() => second.state === 'open')
  await second.map('todos').synced()
  await outside.map('todos').set('c', 3)
  await until(() => second.map('todos').has('c'))
  await second.saved()
  await second.close()
  const kept = connect(NOBODY, offline()).map('todos')
  await until(() => kept.size === 3)
})

test('without locks each tab has a connection and an outbox, and leaves nothing behind', async () => {
  vi.stubGlobal('navigator', {})
  const server = await startServer()
  const name = `tabs-${Math.random()}`
  const away = connect(NOBODY, { offline: indexedDb(name) })
  away.map('todos').set('a', 1)
  await away.saved()
  await away.close()
  const [one, two] = [connect(server, { offline: indexedDb(name) }), connect(server, { offline: indexedDb(name) })]
  const maps = [one, two].map(db => db.map<number>('todos'))
  for (const map of maps) await until(() => map.get('a') === 1)
  await maps[0]?.set('b', 2)
  await until(() => maps[1]?.get('b') === 2)
})

test('where the tab that leads is told to disconnect, the others wait, and what they write is sent later', async () => {
  const server = await startServer()
  const open = origin(server)
  const [one, two] = [await open(), await open()]
  const todos = two.map<number>('todos')
  await todos.synced()
  one.disconnect()
  await until(() => two.state !== 'open')
  const written = todos.set('a', 1)
  await new Promise(resolve => setTimeout(resolve, 300))
  expect([one.state, two.pending]).toEqual(['offline', 1])
  one.connect()
  await written
  const outside = connect(server).map('todos')
  await outside.synced()
  expect(outside.get('a')).toBe(1)
})
