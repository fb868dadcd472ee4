// @vitest-environment happy-dom
// What the README shows is compiled, strictly, and run against the real server.

import 'fake-indexeddb/auto'
import type { ComponentType } from 'react'
import { createRoot } from 'react-dom/client'
import { expect, onTestFinished, test } from 'vitest'
import { blocksOf, faultsOf, run } from '../../client/test/blocks'
import { FakeLocks } from '../../client/test/locks'
import { connect, startServer, until } from '../../client/test/server'

const files = blocksOf('clients/js/react/README.md', import.meta.dirname)

test('every block of the README compiles', () => {
  expect(files.length).toBe(1)
  expect(faultsOf(files)).toEqual([])
}, 120_000)

test('the list shows what is written, who is there and what is said, and takes a click', async () => {
  const server = await startServer()
  const db = connect(server)
  const todos = db.map<{ title: string; done: boolean; due: number }>('todos')
  await todos.set('a', { title: 'Milk', done: false, due: 2 })
  await todos.set('b', { title: 'Bread', done: false, due: 1 })
  const { List } = (await run(files[0] as string, server.url, { navigator: { locks: new FakeLocks() } })) as {
    List: ComponentType
  }
  const container = document.createElement('div')
  const root = createRoot(container)
  root.render(<List />)
  onTestFinished(() => root.unmount())
  await db.channel<string>('chat').publish('hello')
  const says = (text: string) =>
    until(
      () => container.textContent === text,
      () => container.textContent,
    )
  await says('open, 0 waiting, 1 here, 2 of 2 open: helloBreadMilk')
  container.querySelector('li')?.click()
  await says('open, 0 waiting, 1 here, 1 of 2 open: helloMilk')
  await until(() => todos.get('b')?.done === true)
})
