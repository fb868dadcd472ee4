// What docs/client.md shows is compiled, strictly, and run against the real server.

import 'fake-indexeddb/auto'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { YjsProvider } from '../src/yjs'
import { blocksOf, faultsOf, run } from './blocks'
import { connect, startServer, until } from './server'

const files = blocksOf('docs/client.md', import.meta.dirname)
const [remote, yjs] = files as [string, string]

test('every block compiles', () => {
  expect(files.length).toBe(2)
  expect(faultsOf(files)).toEqual([])
}, 120_000)

test('the query that the server answers shows what is written', async () => {
  const server = await startServer()
  const todos = connect(server).map('todos')
  await todos.set('list-1:b', { title: 'Eggs', done: false, priority: 3 })
  await todos.set('list-2:c', { title: 'Nothing of this list', done: false, priority: 3 })
  const said: unknown[] = []
  await run(remote, server.url, { console: { ...console, log: (titles: unknown) => said.push(titles) } })
  await until(
    () => JSON.stringify(said.at(-1)) === '["Eggs","Milk"]',
    () => said,
  )
})

test('the letter is at others', async () => {
  const server = await startServer()
  await run(yjs, server.url, {})
  const doc = new Y.Doc()
  const provider = new YjsProvider(connect(server), 'letter', doc)
  await provider.synced()
  await until(() => doc.getText('body').toString() === 'Dear Bob')
  await until(() => [...(provider.awareness?.getStates().values() ?? [])].some(({ user }) => user?.name === 'Ada'))
  provider.destroy()
})
