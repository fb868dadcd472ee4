// What the README shows is compiled, strictly, and run against the real server.

import 'fake-indexeddb/auto'
import { Window } from 'happy-dom'
import { expect, test } from 'vitest'
import { blocksOf, faultsOf, run } from './blocks'
import { connect, startServer, until } from './server'
import { SECRET, tokenFor } from './tokens'

const files = blocksOf('clients/js/client/README.md', import.meta.dirname)

test('every block of the README compiles', () => {
  expect(files.length).toBe(2)
  expect(faultsOf(files)).toEqual([])
}, 120_000)

test('the todo list shows what is entered, here and elsewhere', async () => {
  const server = await startServer()
  const window = new Window()
  const { document } = window
  document.body.innerHTML = '<form><input></form><ul></ul>'
  await run(files[0] as string, server.url, { document })
  const todos = connect(server).map<{ title: string; done: boolean }>('todos')
  const input = document.querySelector('input')
  if (input) input.value = 'Milk'
  document.querySelector('form')?.dispatchEvent(new window.Event('submit', { cancelable: true }))
  const item = () => document.querySelector('li')
  await until(() => item()?.textContent === '○ Milk' && todos.size === 1)
  item()?.click()
  await until(() => item()?.textContent === '✓ Milk' && [...todos.values()][0]?.done === true)
})

test('what there is does what the README says', async () => {
  const server = await startServer({ secret: SECRET })
  const said: unknown[][] = []
  const fetch = async () => ({ text: async () => tokenFor('u1', 60_000) })
  const other = connect(server, { token: () => tokenFor('u2', 60_000) })
  const directs: unknown[] = []
  other.on('direct', ({ from, data }) => directs.push([from, data]))
  const todos = other.map('todos')
  await todos.set('list-1:b', { title: 'Eggs', done: false, priority: 3 })
  await run(files[1] as string, server.url, {
    fetch,
    console: { ...console, log: (...words: unknown[]) => said.push(words) },
  })
  await until(() => other.set('tags').has('list-1:a', 'urgent') && other.counter('views').get('list-1:a') === 1)
  await until(
    () => said.some(([first]) => Array.isArray(first) && JSON.stringify(first).includes('Eggs')),
    () => said,
  )
  const chat = other.channel('chat').join()
  await until(() => JSON.stringify(chat.messages).includes('hello'))
  await until(() => said.some(([first]) => first === 'open'))
  await until(() => directs.length === 1)
  expect(directs).toEqual([['u1', { text: 'lunch?' }]])
})
