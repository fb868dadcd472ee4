// Queries that the server answers. The oracle is the same question asked of a replica of the whole map, which the
// vectors of docs/vectors/queries.json hold.

import 'fake-indexeddb/auto'
import { expect, onTestFinished, test, vi } from 'vitest'
import { AnnulusError, indexedDb, type QueryOptions } from '../src'
import { canonical } from '../src/canonical'
import { RemoteQuery, remoteMap } from '../src/remote'
import { FakeLocks } from './locks'
import { startPeer } from './peer'
import { Random } from './random'
import { connect, type Server, startServer, until } from './server'

interface Todo {
  title: string
  done: boolean
  priority: number
  due?: string | null
}

const QUERIES: QueryOptions<Todo>[] = [
  {},
  { where: { done: false, priority: { gte: 2 } }, sort: ['due', '-priority'], limit: 5 },
  {
    where: { or: [{ title: { prefix: 'B' } }, { not: { priority: { lte: 6 } } }] },
    sort: ['-due'],
    offset: 2,
    limit: 4,
  },
  { where: { and: [{ due: { exists: true } }, { priority: { in: [1, 3, 5] } }] }, sort: ['-title'] },
  { sort: ['priority'], limit: 3 },
]

const list = (query: Iterable<[string, Todo]> | undefined) => canonical([...(query ?? [])])

for (const onDisk of [false, true]) {
  test(`lists are what the query finds in all there is, over changes and ends of connections, ${onDisk ? 'on disk' : 'in memory'}`, {
    timeout: 90_000,
  }, async () => {
    const random = new Random(Number(process.env.ANNULUS_SEED ?? 7))
    const server = await startServer({ onDisk })
    const asking = connect(server)
    const queries = QUERIES.map(options => remoteMap<Todo>(asking, 'todos').query(options))
    const some = remoteMap<Todo>(asking, 'todos', { prefix: 'k1' }).query({ sort: ['priority'], limit: 4 })
    const writer = connect(server)
    const todos = writer.map<Todo>('todos')
    const ones = writer.map<Todo>('todos', { prefix: 'k1' }).query({ sort: ['priority'], limit: 4 })
    const oracles = QUERIES.map(options => todos.query(options))

    for (let round = 0; round < 12; round++) {
      // Away for some rounds, with the server's own end among them.
      if (round % 4 === 1) asking.disconnect()
      if (round % 4 === 3) asking.connect()
      if (round === 6 || round === 8) {
        await writer.saved()
        await todos.synced()
        await server.stop()
        await server.start()
        for (const db of [asking, writer]) if (db !== asking || round === 8) db.connect()
        await todos.synced()
      }
      const writes = Array.from({ length: 1 + random.below(25) }, () => {
        const key = `k${random.below(40)}`
        if (random.below(4) === 0) return todos.delete(key, { ack: onDisk ? 'durable' : 'memory' })
        return todos.set(key, todo(random), { ack: onDisk ? 'durable' : 'memory' })
      })
      await Promise.all(writes)
      if (round % 4 === 1 || round % 4 === 2) continue
      asking.connect()
      for (const [i, query] of [...queries, some].entries()) {
        const oracle = [...oracles, ones][i]
        await until(
          () => list(query) === list(oracle),
          () => ({ round, i, query: list(query), oracle: list(oracle) }),
        )
        await query.synced()
      }
    }
  })
}

function todo(random: Random): Todo {
  const due = [{}, { due: null }, { due: '2026-01-02' }, { due: '2025-12-31' }][random.below(4)]
  return {
    title: ['Milk', 'Bread', 'Beer'][random.below(3)] as string,
    done: random.below(2) === 0,
    priority: random.below(9),
    ...due,
  }
}

/** What the server has told of a client's queries, as answers or by itself. */
async function overheard(server: Server) {
  const told: { type: string; query: number; resumed?: boolean; entries: { key: string }[] }[] = []
  const { WebSocket } = await import('ws')
  class Listening extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols)
      this.on('message', data => {
        const message = JSON.parse(String(data))
        if (message.query !== undefined) told.push(message)
      })
    }
  }
  return { db: connect(server, { webSocket: Listening as never }), told }
}

test('a client that comes back is told the difference, and no more than the list is sent at first', async () => {
  const server = await startServer()
  const writer = connect(server).map<Todo>('todos')
  for (let i = 0; i < 200; i++) writer.set(`k${i}`, { title: 'Milk', done: i % 2 === 0, priority: i })
  await writer.synced()
  const { db, told } = await overheard(server)
  const query = remoteMap<Todo>(db, 'todos').query({ where: { done: false }, sort: ['-priority'], limit: 20 })
  await query.synced()
  expect(told.map(({ entries }) => entries.length)).toEqual([20])
  const before = new Map(query.rows)
  let heard = 0
  query.subscribe(() => heard++)

  db.disconnect()
  expect(query.isSynced).toBe(false)
  expect(query.rows.length).toBe(20)
  await writer.set('k199', { title: 'Milk', done: true, priority: 199 })
  await writer.set('k150', { title: 'Beer', done: false, priority: 190 })
  told.length = 0
  heard = 0
  db.connect()
  await until(() => query.isSynced)
  expect(told.map(({ type, resumed, entries }) => [type, resumed, entries.map(({ key }) => key).sort()])).toEqual([
    ['snapshot', true, expect.arrayContaining(['k150'])],
  ])
  expect(told[0]?.entries.length).toBeLessThan(5)
  expect(query.rows.slice(0, 6).map(([key]) => key)).toEqual(['k197', 'k195', 'k193', 'k191', 'k150', 'k189'])
  expect(query.rows.length).toBe(20)
  expect(heard).toBe(1)
  // What has not changed is the same object.
  for (const [key, value] of query.rows) if (before.has(key) && key !== 'k150') expect(value).toBe(before.get(key))
})

test('nobody replicates the map: writes are sent, kept in the order of before, and shown once the server has them', async () => {
  const server = await startServer()
  const db = connect(server)
  const todos = remoteMap<Todo>(db, 'todos')
  expect(remoteMap(db, 'todos')).toBe(todos)
  const query = todos.query({ where: { done: false } })
  await query.synced()
  db.disconnect()
  const done = todos.set('a', { title: 'Milk', done: false, priority: 1 })
  todos.set('b', { title: 'Bread', done: false, priority: 1 })
  todos.delete('b')
  expect(db.pending).toBe(3)
  db.connect()
  await done
  await until(() => query.rows.length === 1 && query.rows[0]?.[0] === 'a')
  const other = connect(server).map('todos')
  await other.synced()
  expect(other.size).toBe(1)
})

test('what the server refuses is told, once', async () => {
  const server = await startServer()
  const db = connect(server)
  const errors: string[] = []
  db.on('error', error => errors.push(error.code))
  await db.counter('views').increment('a')
  const query = remoteMap(db, 'views').query()
  await expect(query.synced()).rejects.toSatisfy(error => AnnulusError.is(error, 'map_type'))
  await expect(query.synced()).rejects.toSatisfy(error => error === query.error)
  const wide = remoteMap(db, 'todos').query({ limit: 1_000_000 })
  await expect(wide.synced()).rejects.toSatisfy(error => AnnulusError.is(error, 'too_large'))
  expect(errors).toEqual(['map_type', 'too_large'])
})

test('whoever waits for a query hears that its client is closed', async () => {
  const peer = await startPeer()
  const db = connect(peer)
  const query = remoteMap(db, 'todos').query()
  await until(() => peer.received.length === 1)
  const waits = query.synced()
  void db.close()
  await expect(waits).rejects.toSatisfy(error => AnnulusError.is(error, 'closed'))
  await expect(query.synced()).rejects.toSatisfy(error => AnnulusError.is(error, 'closed'))
})

test('values go through parse, and what it does not take is not shown', async () => {
  const server = await startServer()
  const writer = connect(server).map('todos')
  await writer.set('a', 1)
  await writer.set('b', 'two')
  const db = connect(server)
  const invalid: string[] = []
  db.on('invalid', ({ key }) => invalid.push(key))
  const parse = (value: unknown) => {
    if (typeof value !== 'number') throw new TypeError('no number')
    return value + 1
  }
  const query = remoteMap<number>(db, 'todos', { parse }).query()
  await query.synced()
  expect(query.rows).toEqual([['a', 2]])
  expect(invalid).toEqual(['b'])
})

test('steps that are not of the list that is here have it asked for anew, as a whole', async () => {
  const peer = await startPeer()
  const db = connect(peer)
  const query = remoteMap(db, 'todos').query({ sort: ['n'] })
  const asked = () => peer.received.filter(({ type }) => type === 'subscribe')
  const answer = (id: number, keys: string[]) => {
    const entries = keys.map((key, rank) => ({ key, value: rank, at: '1700000000000:0:n', rank }))
    const end = { more: false, cursor: 'c', resumed: false, reset: false }
    peer.say({ type: 'snapshot', id, map: 'todos', query: id, entries, ...end })
  }
  await until(() => asked().length === 1)
  const id = asked()[0]?.id as number
  answer(id, ['a', 'b'])
  await query.synced()
  // Of nobody, and of another.
  peer.say({ type: 'change', map: 'todos', query: 999, entries: [{ key: 'a', event: 'leave', rank: 0 }], cursor: 'd' })
  peer.say({ type: 'change', map: 'todos', query: id, entries: [{ key: 'a', event: 'leave', rank: 1 }], cursor: 'd' })
  await until(() => asked().length === 2)
  expect(query.rows.map(([key]) => key)).toEqual(['a', 'b'])
  expect(asked()[1]).not.toHaveProperty('since')
  expect(peer.received.find(({ type }) => type === 'unsubscribe')).toMatchObject({ map: 'todos', query: id })
  answer(asked()[1]?.id as number, ['b'])
  await until(() => query.rows.length === 1)

  // A refusal that passes is no end.
  const second = asked()[1]?.id as number
  peer.say({ type: 'error', map: 'todos', query: second, code: 'overloaded', message: 'later', retry_after_ms: 5 })
  await until(() => asked().length === 3)
  expect(asked()[2]).toMatchObject({ since: 'c', query: { sort: ['n'] } })
  answer(asked()[2]?.id as number, ['b'])
  await query.synced()

  peer.say({ type: 'error', map: 'todos', code: 'forbidden', message: 'not allowed for this identity' })
  await until(() => query.error?.code === 'forbidden')
  expect(query.rows).toEqual([])
  query.close()
  query.close()
})

test('a list that comes in parts is shown once it is whole, and forgotten where its connection ends', async () => {
  const peer = await startPeer()
  const db = connect(peer)
  const query = remoteMap(db, 'todos').query()
  const asked = () => peer.received.filter(({ type }) => type === 'subscribe')
  const part = (id: number, key: string, rank: number, end: object) =>
    peer.say({ type: 'snapshot', id, map: 'todos', query: id, entries: [{ key, value: 1, at: '1:0:n', rank }], ...end })
  await until(() => asked().length === 1)
  part(asked()[0]?.id as number, 'lost', 0, { more: true })
  peer.socket?.terminate()
  await until(() => asked().length === 2)
  const id = asked()[1]?.id as number
  part(id, 'a', 0, { more: true })
  await new Promise(resolve => setTimeout(resolve, 20))
  expect(query.rows).toEqual([])
  part(id, 'b', 1, { more: false, cursor: 'c', resumed: false, reset: false })
  await query.synced()
  expect(query.rows.map(([key]) => key)).toEqual(['a', 'b'])
})

test('a tab that is closed leaves no query behind', async () => {
  vi.stubGlobal('navigator', { locks: new FakeLocks() })
  onTestFinished(() => void vi.unstubAllGlobals())
  const peer = await startPeer()
  const name = `remote-${Math.random()}`
  const leader = connect(peer, { offline: indexedDb(name) })
  await until(() => leader.state === 'open')
  const tab = connect(peer, { offline: indexedDb(name) })
  remoteMap(tab, 'todos').query()
  const asked = () => peer.received.find(({ type }) => type === 'subscribe')
  await until(() => asked() !== undefined)
  await tab.close()
  const ended = () => peer.received.find(({ type }) => type === 'unsubscribe')
  await until(() => ended() !== undefined)
  expect(ended()).toMatchObject({ map: 'todos', query: asked()?.id })
  expect(peer.came.length).toBe(1)
})

test('tabs that do not lead have their queries, too, whoever leads', async () => {
  vi.stubGlobal('navigator', { locks: new FakeLocks() })
  onTestFinished(() => void vi.unstubAllGlobals())
  const server = await startServer()
  const name = `remote-${Math.random()}`
  const tabs = [connect(server, { offline: indexedDb(name) })]
  await until(() => tabs[0]?.state === 'open')
  tabs.push(connect(server, { offline: indexedDb(name) }), connect(server, { offline: indexedDb(name) }))
  const queries = tabs.map((tab, i) => remoteMap<Todo>(tab, 'todos').query({ where: { priority: i }, sort: ['title'] }))
  await Promise.all(queries.map(query => query.synced()))
  const writer = connect(server).map<Todo>('todos')
  for (let i = 0; i < 9; i++) await writer.set(`k${i}`, { title: `${9 - i}`, done: false, priority: i % 3 })
  for (const [i, query] of queries.entries()) {
    const keys = [i + 6, i + 3, i].map(n => `k${n}`)
    await until(
      () => query.rows.map(([key]) => key).join() === keys.join(),
      () => query.rows,
    )
  }
  await remoteMap<Todo>(tabs[1] as never, 'todos').set('k9', { title: '0', done: false, priority: 1 })
  await until(() => queries[1]?.rows[0]?.[0] === 'k9')
  // Another one leads, and the lists go on.
  await tabs[0]?.close()
  await until(() => tabs[1]?.state === 'open' && tabs[2]?.state === 'open')
  await writer.delete('k8')
  await until(() => queries[2]?.rows.length === 2)
  expect(queries[2]).toBeInstanceOf(RemoteQuery)
})
