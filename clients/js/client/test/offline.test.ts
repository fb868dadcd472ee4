// What is written without a connection is kept, over reloads, until the server has it; what was seen is there at once.

import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import 'fake-indexeddb/auto'
import { beforeEach, expect, test, vi } from 'vitest'
import { indexedDb, memoryStore, type Offline } from '../src'
import { fileStore } from '../src/node'
import { FakeLocks } from './locks'
import { startPeer } from './peer'
import { connect, folder, startServer, until } from './server'

beforeEach(() => {
  vi.stubGlobal('navigator', { locks: new FakeLocks() })
  return () => vi.unstubAllGlobals()
})

const NOBODY = { url: 'ws://127.0.0.1:1/v1' }

const stores: [string, () => Promise<() => Offline>][] = [
  [
    'memory',
    async () => {
      const store = memoryStore()
      return () => store
    },
  ],
  [
    'a file',
    async () => {
      const path = join(await folder(), 'deep', 'app.log')
      return () => fileStore(path)
    },
  ],
  [
    'IndexedDB',
    async () => {
      const name = `app-${Math.random()}`
      return () => indexedDb(name)
    },
  ],
]

test.each(stores)('what is written offline survives a reload and reaches the server (%s)', async (_name, make) => {
  const open = await make()
  const server = await startServer()
  const first = connect(NOBODY, { offline: open() })
  const written = first.map<number>('todos').set('a', 1)
  first.set<string>('tags').add('a', 'red')
  first.set<string>('tags').add('a', 'blue')
  first.set<string>('tags').remove('a', 'red')
  first.counter('views').increment('a', 3)
  first.counter('views').increment('a', -1)
  await first.saved()
  expect(first.pending).toBe(6)
  await first.close()
  await expect(written).rejects.toMatchObject({ code: 'closed' })

  const second = connect(NOBODY, { offline: open() })
  const [todos, tags, views] = [second.map<number>('todos'), second.set<string>('tags'), second.counter('views')]
  await until(() => second.pending === 6)
  expect([todos.get('a'), tags.get('a'), views.get('a')]).toEqual([1, ['blue'], 2])
  await second.close()

  const third = connect(server, { offline: open() })
  await Promise.all([third.map('todos').synced(), third.set('tags').synced(), third.counter('views').synced()])
  const other = connect(server)
  await Promise.all([other.map('todos').synced(), other.set('tags').synced(), other.counter('views').synced()])
  expect(other.map('todos').get('a')).toBe(1)
  expect(other.set('tags').get('a')).toEqual(['blue'])
  expect(other.counter('views').get('a')).toBe(2)
  // Counting goes on in the same slot.
  await third.counter('views').increment('a')
  await until(() => other.counter('views').get('a') === 3)
  await until(() => third.counter('views').get('a') === 3)
  await third.close()

  const fourth = connect(NOBODY, { offline: open() })
  await fourth.saved()
  expect(fourth.pending).toBe(0)
})

test.each(stores)('a reload shows what was seen, and asks for the rest only (%s)', async (_name, make) => {
  const open = await make()
  const server = await startServer()
  const writer = connect(server).map<number>('todos')
  for (let i = 0; i < 1500; i++) writer.set(`k${i}`, i)
  await writer.synced()
  const first = connect(server, { offline: open() })
  await first.map('todos').synced()
  await first.close()

  const away = connect(NOBODY, { offline: open() })
  const shown = away.map<number>('todos')
  await until(() => shown.size === 1500)
  expect(shown.get('k77')).toBe(77)
  shown.set('k77', 78)
  await away.saved()
  await away.close()

  await writer.delete('k0')
  await writer.set('k1', -1)
  const peer = await startPeer()
  const asking = connect(peer, { offline: open() })
  asking.map('todos')
  await until(() => peer.received.length === 2)
  expect(peer.received[0]).toMatchObject({ type: 'subscribe', map: 'todos', since: expect.any(String) })
  expect(peer.received[1]).toMatchObject({ type: 'write', ack: 'durable', ops: [{ key: 'k77', value: 78 }] })
  await asking.close()

  const back = connect(server, { offline: open() })
  const todos = back.map<number>('todos')
  await todos.synced()
  expect([todos.size, todos.has('k0'), todos.get('k1'), todos.get('k77')]).toEqual([1499, false, -1, 78])
})

test('a server that has lost everything leaves nothing of it, but for what it has yet to be sent', async () => {
  const server = await startServer()
  const store = memoryStore()
  const db = connect(server, { offline: store })
  const todos = db.map<number>('todos')
  await todos.set('old', 1)
  await server.stop()
  await until(() => db.state === 'offline')
  todos.set('new', 2)
  await server.start()
  await todos.synced()
  await until(
    () => todos.size === 1,
    () => [...todos.entries()],
  )
  expect([...todos.entries()]).toEqual([['new', 2]])
  await db.close()
  const kept = connect(NOBODY, { offline: store }).map('todos')
  await until(() => kept.size === 1)
  expect([...kept.keys()]).toEqual(['new'])
})

test('what comes of a snapshot that breaks off takes the place of nothing', async () => {
  const peer = await startPeer()
  const db = connect(peer)
  const todos = db.map<number>('todos')
  const answer = (index: number, part: object) =>
    peer.say({ type: 'snapshot', id: peer.received[index]?.id, map: 'todos', ...part })
  const end = { more: false, resumed: false, reset: true }
  await until(() => peer.received.length === 1)
  const [a, b, c] = ['a', 'b', 'c'].map(key => ({ key, value: 1, at: '5:0:x' }))
  answer(0, { entries: [a, b], ...end, cursor: 'c1' })
  await todos.synced()
  peer.say({ type: 'snapshot', map: 'todos', entries: [c], more: true })
  await peer.socket?.close(1011)
  await until(() => peer.received.length === 2)
  expect(peer.received[1]).not.toHaveProperty('since')
  expect([...todos.keys()].join()).toBe('a,b')
  // It was asked for without a cursor: what it does not name is not there, whatever it was.
  answer(1, { entries: [{ key: 'b', value: 0, at: '4:0:x' }], more: true })
  expect([...todos.keys()].join()).toBe('a,b')
  answer(1, { entries: [c], ...end, reset: false, cursor: 'c2' })
  await todos.synced()
  expect([...todos.entries()]).toEqual([
    ['b', 0],
    ['c', 1],
  ])
})

test('a second client is kept away from a file, and one whose process is gone is not', async () => {
  const path = join(await folder(), 'app.log')
  const first = connect(NOBODY, { offline: fileStore(path) })
  await first.saved()
  const second = connect(NOBODY, { offline: fileStore(path) })
  const refused = second.map('todos').set('a', 1)
  await until(() => second.state === 'closed')
  expect(second.error?.code).toBe('storage_in_use')
  await expect(refused).rejects.toMatchObject({ code: 'storage_in_use' })
  await first.close()
  // No process has this number: they end below 2^22.
  await writeFile(`${path}.lock`, '4999999 abc')
  const third = connect(NOBODY, { offline: fileStore(path) })
  await third.map('todos')
  third.map('todos').set('b', 1)
  await third.saved()
  await third.close()
  // As a process of before with the number of this one, in a container.
  await writeFile(`${path}.lock`, `${process.pid} abc`)
  const fourth = connect(NOBODY, { offline: fileStore(path) })
  await fourth.saved()
  expect(fourth.pending).toBe(1)
})

test('half a line at the end of a file is cut off, and a long history is written anew', async () => {
  const path = join(await folder(), 'app.log')
  const { store: first } = fileStore(path)
  await first.open()
  await first.write([['a', 1]])
  await first.write([
    ['b', { text: 'é' }],
    ['a', undefined],
  ])
  await first.close()
  await appendFile(path, '[["c",')
  const { store: second } = fileStore(path, { sync: false })
  await second.open()
  expect(await second.read('')).toEqual([['b', { text: 'é' }]])
  for (let i = 0; i < 300; i++) await second.write([['d', `${i} ${'x'.repeat(10_000)}`]])
  await second.write([['e', 1]])
  await second.close()
  expect((await readFile(path)).length).toBeLessThan(1.2e6)
  const { store: third } = fileStore(path)
  await third.open()
  expect((await third.read('')).map(([key]) => key).sort()).toEqual(['b', 'd', 'e'])
  await third.close()
})

test('a store that fails loses nothing that stays in memory, and is told of once', async () => {
  const server = await startServer()
  const store = memoryStore()
  const { store: records } = store
  const write = records.write.bind(records)
  let fails = true
  records.write = async changes => {
    if (fails) throw new DOMException('the disk is full', 'QuotaExceededError')
    return write(changes)
  }
  const db = connect(server, { offline: store })
  const errors: string[] = []
  db.on('error', error => errors.push(error.code))
  const todos = db.map<number>('todos')
  await todos.set('a', 1)
  await expect(db.saved()).rejects.toMatchObject({ code: 'storage_failed' })
  await todos.set('b', 2)
  expect(errors).toEqual(['storage_failed'])
  // What is kept of a map is shown once its snapshot was whole.
  await todos.synced()
  fails = false
  await db.saved()
  await db.close()
  const kept = connect(NOBODY, { offline: store }).map('todos')
  await until(() => kept.size === 2)
})

test('a store that cannot be opened leaves the client without one', async () => {
  const server = await startServer()
  const store = memoryStore()
  store.store.open = () => Promise.reject(new Error('private mode'))
  const db = connect(server, { offline: store })
  const errors: string[] = []
  db.on('error', error => errors.push(error.code))
  await db.map('todos').set('a', 1)
  expect(errors).toEqual(['storage_failed'])
})

test('erasing leaves nothing for whoever comes next', async () => {
  const server = await startServer()
  const store = indexedDb(`erased-${Math.random()}`)
  const db = connect(server, { offline: store })
  await db.map('todos').set('a', 1)
  await db.saved()
  await db.erase()
  await store.store.open()
  expect(await store.store.read('')).toEqual([])
})

test('a write with a stamp too far ahead is stamped anew', async () => {
  const server = await startServer()
  const store = memoryStore()
  const ahead = Date.now() + 5 * 3600 * 1000
  await store.store.open()
  await store.store.write([
    ['clock', { last: `${ahead}:0:x`, ahead: 0 }],
    ['o/main/000000000007', { op: { map: 'todos', key: 'a', op: 'set', value: 1, at: `${ahead}:1:x` }, ack: 'memory' }],
  ])
  await store.store.close()
  const db = connect(server, { offline: store })
  const todos = db.map<number>('todos')
  await todos.synced()
  const other = connect(server).map<number>('todos')
  await other.synced()
  expect(other.get('a')).toBe(1)
  await other.set('a', 2)
  await until(() => todos.get('a') === 2)
})
