// @vitest-environment happy-dom
// Components on a real server: what they show, and how often they are rendered for it.

import type { Annulus } from 'annulus-client'
import { memo, type ReactNode, StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { expect, onTestFinished, test } from 'vitest'
import { remoteMap } from '../../client/src/remote'
import { connect, startServer, until } from '../../client/test/server'
import { useChannel, useConnection, useKey, useMap, usePending, usePresence, useQuery } from '../src'

interface Todo {
  title: string
  done: boolean
  due: number
}

/** Renders it, and says what it looks like. */
function show(node: ReactNode): { text: () => string; render: (node: ReactNode) => void; end: () => void } {
  const container = document.createElement('div')
  const root = createRoot(container)
  root.render(node)
  onTestFinished(() => root.unmount())
  return { text: () => container.textContent ?? '', render: node => root.render(node), end: () => root.unmount() }
}

const counts = new Map<string, number>()
const rendered = (name: string) => counts.set(name, (counts.get(name) ?? 0) + 1)
const times = (name: string) => counts.get(name) ?? 0
/** Everything that is under way has been rendered. */
const settled = () => new Promise(resolve => setTimeout(resolve, 60))

test('a row is rendered when it changes, a list when any does, a query when its rows do', async () => {
  const db = connect(await startServer())
  const todos = db.map<Todo>('todos')
  await Promise.all([
    todos.set('a', { title: 'Milk', done: false, due: 1 }),
    todos.set('b', { title: 'Bread', done: false, due: 2 }),
    todos.set('c', { title: 'Done', done: true, due: 3 }),
  ])

  const Row = memo(function Row({ id }: { id: string }) {
    rendered(`row ${id}`)
    return <li>{useKey(todos, id)?.title};</li>
  })
  function List() {
    rendered('list')
    return useMap(todos).map(([id]) => <Row key={id} id={id} />)
  }
  function Open() {
    rendered('open')
    return (
      <p>
        {useQuery(todos, { where: { done: false }, sort: ['due'] })
          .map(([, { title }]) => title)
          .join()}
      </p>
    )
  }
  const list = show(<List />)
  const open = show(<Open />)
  await until(() => list.text() === 'Milk;Bread;Done;' && open.text() === 'Milk,Bread')
  counts.clear()

  await todos.set('b', { title: 'Rye bread', done: false, due: 2 })
  await until(() => list.text() === 'Milk;Rye bread;Done;' && open.text() === 'Milk,Rye bread')
  await settled()
  expect(Object.fromEntries(counts)).toEqual({ list: 1, 'row b': 1, open: 1 })

  // No row of the query, before or after.
  await todos.set('c', { title: 'All done', done: true, due: 0 })
  await until(() => list.text() === 'Milk;Rye bread;All done;')
  await settled()
  expect(Object.fromEntries(counts)).toEqual({ list: 2, 'row b': 1, 'row c': 1, open: 1 })

  // Many in one message are one rendering.
  counts.clear()
  const other = connect(await connectedTo(db)).map<Todo>('todos')
  for (let i = 0; i < 50; i++) other.set(`d${i}`, { title: 'x', done: true, due: 9 })
  await until(() => todos.size === 53)
  await settled()
  expect(times('open')).toBe(0)
  expect(times('list')).toBeLessThan(10)
})

test('a query that the server answers is rendered as one that is answered here', async () => {
  const server = await startServer()
  const db = connect(server)
  const todos = remoteMap<Todo>(db, 'todos')
  function Open() {
    rendered('remote')
    const open = useQuery(todos, { where: { done: false }, sort: ['due'], limit: 2 })
    return <p>{open.map(([, { title }]) => title).join()}</p>
  }
  const page = show(
    <>
      <Open />
      <Open />
    </>,
  )
  const writer = connect(server).map<Todo>('todos')
  await writer.set('a', { title: 'Milk', done: false, due: 1 })
  await writer.set('b', { title: 'Bread', done: false, due: 2 })
  await until(() => page.text() === 'Milk,BreadMilk,Bread', page.text)
  await settled()
  counts.clear()
  // One that shows in no row, and then one that does.
  await writer.set('c', { title: 'Beer', done: false, due: 3 })
  await settled()
  expect(times('remote')).toBe(0)
  await writer.set('c', { title: 'Beer', done: false, due: 0 })
  await until(() => page.text() === 'Beer,MilkBeer,Milk', page.text)
  await settled()
  expect(times('remote')).toBe(2)
})

test('a component that asks for something else shows that', async () => {
  const db = connect(await startServer())
  const todos = db.map<Todo>('todos')
  const views = db.counter('views')
  await todos.set('a', { title: 'Milk', done: false, due: 1 })
  await todos.set('b', { title: 'Bread', done: true, due: 2 })
  function Both({ id, done }: { id: string; done: boolean }) {
    const rows = useQuery(todos, { where: { done } })
    return `${useKey(todos, id)?.title} ${rows.map(([key]) => key).join()} ${useKey(views, id) ?? 'none'}`
  }
  const { text, render } = show(<Both id="a" done={false} />)
  await until(() => text() === 'Milk a 0', text)
  render(<Both id="b" done={true} />)
  await until(() => text() === 'Bread b 0', text)
  views.increment('b', 3)
  await until(() => text() === 'Bread b 3', text)
})

test('who is here is told while the component is there, in strict mode, too', async () => {
  const server = await startServer()
  const [one, other] = [connect(server), connect(server)]
  function Here({ db, name }: { db: Annulus; name: string }) {
    const { members, self } = usePresence(db.room<{ name: string }>('r'), { name })
    return `${self?.state.name}: ${members
      .map(({ state }) => state.name)
      .sort()
      .join()}`
  }
  function Watch({ db }: { db: Annulus }) {
    return `${usePresence(db.room('r')).count}`
  }
  const strict = show(
    <StrictMode>
      <Here db={one} name="Ada" />
    </StrictMode>,
  )
  const mine = show(<Here db={other} name="Bob" />)
  const watching = show(<Watch db={other} />)
  await until(
    () => strict.text() === 'Ada: Ada,Bob' && mine.text() === 'Bob: Ada,Bob',
    () => [strict.text(), mine.text()],
  )
  mine.render(<Here db={other} name="Bobby" />)
  await until(() => strict.text() === 'Ada: Ada,Bobby', strict.text)
  expect(watching.text()).toBe('2')
  // Who only looks goes on to do so when who was in the room is gone.
  mine.end()
  await until(
    () => strict.text() === 'Ada: Ada' && watching.text() === '1',
    () => [strict.text(), watching.text()],
  )
})

test('what is said is shown while the component is there', async () => {
  const server = await startServer()
  const [one, other] = [connect(server), connect(server)]
  function Chat({ db }: { db: Annulus }) {
    return useChannel(db.channel<string>('c'))
      .messages.map(({ data }) => data)
      .join()
  }
  const { text, end } = show(<Chat db={one} />)
  await other.channel<string>('c').publish('Hello')
  await other.channel<string>('c').publish('there')
  await until(() => text() === 'Hello,there', text)
  end()
  await settled()
  await other.channel<string>('c').publish('Nobody hears')
  await settled()
  expect(one.channel<string>('c').messages.map(({ data }) => data)).toEqual(['Hello', 'there'])
})

test('the connection and what waits for it are rendered when they change', async () => {
  const db = connect(await startServer())
  function State() {
    rendered('state')
    return useConnection(db).state
  }
  const Pending = () => `${usePending(db)}`
  const state = show(<State />)
  const pending = show(<Pending />)
  await until(() => state.text() === 'open', state.text)
  counts.clear()
  db.disconnect()
  await until(() => state.text() === 'offline', state.text)
  void db.map('m').set('k', 1)
  void db.map('m').set('l', 1)
  await until(() => pending.text() === '2', pending.text)
  db.connect()
  await until(
    () => state.text() === 'open' && pending.text() === '0',
    () => [state.text(), pending.text()],
  )
  await settled()
  // Offline, connecting, open; writes are no concern of this component.
  expect(times('state')).toBeLessThanOrEqual(3)
})

/** The server of a client. */
async function connectedTo(db: Annulus): Promise<{ url: string }> {
  await db.map('todos').synced()
  return { url: (db as unknown as { engine: { options: { url: string } } }).engine.options.url }
}
