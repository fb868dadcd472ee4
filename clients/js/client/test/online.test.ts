// Clients on a real server: what one does, others see.

import { expect, test } from 'vitest'
import { connect, startServer, until } from './server'

interface Todo {
  title: string
  done: boolean
}

test('what one writes others see, at once on its own screen', async () => {
  const server = await startServer()
  const [one, other] = [connect(server), connect(server)]
  const [mine, theirs] = [one.map<Todo>('todos'), other.map<Todo>('todos')]
  await theirs.synced()

  const written = mine.set('a', { title: 'Milk', done: false })
  expect(mine.get('a')).toEqual({ title: 'Milk', done: false })
  await written
  await until(() => theirs.get('a')?.title === 'Milk')

  await theirs.set('a', { title: 'Milk', done: true })
  await until(() => mine.get('a')?.done === true)
  await mine.delete('a')
  await until(() => !theirs.has('a'))
  expect(theirs.size).toBe(0)
})

test('entries are in the order of their keys, and of those one asked for', async () => {
  const server = await startServer()
  const writer = connect(server).map<number>('numbers')
  for (const key of ['b:2', 'a:1', 'b:1', 'c:1', 'b:😀', 'b:\uff5e']) writer.set(key, 1)
  await writer.synced()
  const some = connect(server).map<number>('numbers', { prefix: 'b:' })
  await some.synced()
  expect([...some.keys()]).toEqual(['b:1', 'b:2', 'b:\uff5e', 'b:😀'])
  const one = connect(server).map<number>('numbers', { keys: ['c:1'] })
  await one.synced()
  expect([...one.entries()]).toEqual([['c:1', 1]])
})

test('views of other keys of one map share a subscription that has both', async () => {
  const server = await startServer()
  const db = connect(server)
  const [a, b] = [db.map<number>('numbers', { prefix: 'a:' }), db.map<number>('numbers', { prefix: 'b:' })]
  await Promise.all([a.synced(), b.synced()])
  const other = connect(server).map<number>('numbers')
  await Promise.all([other.set('a:1', 1), other.set('b:1', 2), other.set('c', 3)])
  await until(() => a.get('a:1') === 1 && b.get('b:1') === 2)
  expect([a.size, b.size]).toEqual([1, 1])
  a.close()
  await other.set('b:2', 3)
  await until(() => b.get('b:2') === 3)
  expect(() => db.set('numbers')).toThrow('is used as lww')
})

test('sets have what is added until that very addition is removed', async () => {
  const server = await startServer()
  const [one, other] = [connect(server).set<string>('tags'), connect(server).set<string>('tags')]
  await one.add('t', 'urgent')
  await one.add('t', 'red')
  await other.synced()
  await until(() => other.get('t').join() === 'urgent,red')
  // Nobody has seen this addition when the other one is removed.
  await Promise.all([other.remove('t', 'urgent'), one.add('t', 'urgent')])
  await until(
    () => other.get('t').join() === 'red,urgent',
    () => other.get('t'),
  )
  await until(
    () => one.get('t').join() === 'red,urgent',
    () => one.get('t'),
  )
  expect(one.has('t', 'red')).toBe(true)
  await one.delete('t')
  await until(() => !other.has('t'))
  expect(other.get('t')).toBe(other.get('nobody'))
})

test('counters add what everybody counts, and never jump back', async () => {
  const server = await startServer()
  const [one, other] = [connect(server).counter('views'), connect(server).counter('views')]
  await Promise.all([one.synced(), other.synced()])
  const seen: number[] = []
  one.subscribe('page', count => seen.push(count ?? 0))
  for (let i = 0; i < 20; i++) {
    one.increment('page')
    await new Promise(resolve => setTimeout(resolve, 3))
  }
  await one.synced()
  await until(
    () => other.get('page') === 20,
    () => other.get('page'),
  )
  expect(seen).toEqual(Array.from({ length: 21 }, (_, i) => i))

  await Promise.all(
    Array.from({ length: 50 }, (_, i) => [one.increment('page', 3), other.increment('page', -i)]).flat(),
  )
  await until(
    () => one.get('page') === 20 + 150 - 1225 && other.get('page') === one.get('page'),
    () => [one.get('page'), other.get('page')],
  )
})

test('a value ends by itself where it has a time to live', async () => {
  const server = await startServer()
  const [one, other] = [connect(server).map<number>('cursors'), connect(server).map<number>('cursors')]
  await Promise.all([one.synced(), other.synced()])
  await one.set('me', 1, { ttlMs: 300 })
  await until(() => other.get('me') === 1)
  await until(() => !other.has('me') && !one.has('me'))
})

test('a refused write is undone, and its promise and the event say why', async () => {
  const server = await startServer({ flags: ['--max-value-bytes', '100'] })
  const db = connect(server)
  const map = db.map<string>('notes')
  const rejected: string[] = []
  db.on('rejected', ({ key, error }) => rejected.push(`${key} ${error.code}`))
  await map.set('a', 'short')
  const seen: (string | undefined)[] = []
  map.subscribe('a', value => seen.push(value?.slice(0, 5)))
  await expect(map.set('a', 'x'.repeat(200))).rejects.toMatchObject({ code: 'too_large' })
  expect(seen).toEqual(['short', 'xxxxx', 'short'])
  expect(rejected).toEqual(['a too_large'])
  await connect(server)
    .counter('notes')
    .increment('a')
    .catch(error => rejected.push(error.code))
  expect(rejected).toEqual(['a too_large', 'map_type'])
})

test('values that parse does not take are not shown', async () => {
  const server = await startServer()
  const writer = connect(server).map('todos')
  await Promise.all([writer.set('good', { title: 'Milk' }), writer.set('bad', 7)])
  const db = connect(server)
  const invalid: string[] = []
  db.on('invalid', ({ key, error }) => invalid.push(`${key}: ${(error as Error).message}`))
  const parse = (value: unknown) => {
    if (typeof value !== 'object') throw new Error('no todo')
    return { ...(value as { title: string }), parsed: true }
  }
  const todos = db.map('todos', { parse })
  await todos.synced()
  expect([...todos.entries()]).toEqual([['good', { title: 'Milk', parsed: true }]])
  expect(invalid).toEqual(['bad: no todo'])
})

test('queries follow what changes', async () => {
  const server = await startServer()
  const db = connect(server)
  const todos = db.map<{ done: boolean; priority: number }>('todos')
  await todos.synced()
  const open = todos.query({ where: { done: false, priority: { gte: 2 } }, sort: ['-priority'], limit: 2 })
  const keys = () => open.rows.map(([key]) => key).join()
  const seen: string[] = []
  open.subscribe(() => seen.push(keys()))
  todos.set('a', { done: false, priority: 2 })
  todos.set('b', { done: false, priority: 5 })
  todos.set('c', { done: false, priority: 1 })
  todos.set('d', { done: false, priority: 3 })
  todos.set('b', { done: true, priority: 5 })
  todos.delete('d')
  expect(seen).toEqual(['', 'a', 'b,a', 'b,d', 'd,a', 'a'])
})

test('who is in a room is told to all, with states', async () => {
  const server = await startServer()
  const [one, other] = [connect(server), connect(server)]
  const mine = one.room<{ x: number }>('doc').join({ x: 1 })
  const theirs = other.room<{ x: number }>('doc').join({ x: 2 })
  await until(() => mine.count === 2 && theirs.count === 2)
  expect(mine.self?.state).toEqual({ x: 1 })
  expect(mine.others.map(({ state }) => state)).toEqual([{ x: 2 }])
  // What has not changed is the same, for whoever compares.
  expect(mine.others).toBe(mine.others)
  for (let x = 3; x < 20; x++) theirs.update({ x })
  await until(() => mine.others[0]?.state.x === 19)
  expect((await mine.list()).members).toHaveLength(2)
  theirs.leave()
  await until(() => mine.count === 1)
  expect(theirs.members).toEqual([])
})

test('what is said in a channel comes in one order, with what was said before', async () => {
  const server = await startServer()
  const [one, other] = [connect(server), connect(server)]
  const chat = one.channel<string>('chat')
  chat.subscribe(() => undefined)
  expect(await chat.publish('hello')).toBe(1)
  await chat.publish('again')
  await until(() => chat.messages.length === 2)
  const late = other.channel<string>('chat').join()
  const heard: string[] = []
  late.on('message', ({ data }) => heard.push(data))
  await until(() => late.messages.map(({ data }) => data).join() === 'hello,again')
  await Promise.all([chat.publish('more'), late.publish('and more')])
  await until(() => late.messages.length === 4 && chat.messages.length === 4)
  expect(late.messages).toEqual(chat.messages)
  expect(heard.sort()).toEqual(['and more', 'more'])
  expect((await late.history({ before: 3, limit: 1 })).messages.map(({ data }) => data)).toEqual(['again'])
})

test('the state of the connection is told, and close is for good', async () => {
  const server = await startServer()
  const db = connect(server)
  const states: string[] = []
  db.subscribe(state => states.push(state))
  const map = db.map<number>('m')
  await map.synced()
  db.disconnect()
  const kept = map.set('k', 1)
  expect(db.pending).toBe(1)
  db.connect()
  await kept
  db.close()
  await expect(map.set('k', 2)).rejects.toMatchObject({ code: 'closed' })
  expect(states).toEqual(['connecting', 'open', 'offline', 'connecting', 'open', 'closed'])
})
