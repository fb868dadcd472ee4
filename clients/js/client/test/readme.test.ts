// What the README shows is compiled, strictly, and run against the real server.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import 'fake-indexeddb/auto'
import { build } from 'esbuild'
import { Window } from 'happy-dom'
import ts from 'typescript'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { connect, startServer, until } from './server'
import { SECRET, tokenFor } from './tokens'

const here = import.meta.dirname
const readme = readFileSync(resolve(here, '../README.md'), 'utf8')
const blocks = [...readme.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code as string)

const folder = mkdtempSync(join(here, '.readme-'))
afterAll(() => rmSync(folder, { recursive: true }))
const files = blocks.map((code, i) => {
  const file = join(folder, `block-${i}.ts`)
  writeFileSync(file, code)
  return file
})

test('every block of the README compiles', () => {
  expect(blocks.length).toBe(2)
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    paths: { 'annulus-client': [resolve(here, '../src/index.ts')] },
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
  })
  const faults = ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  expect(faults).toEqual([])
}, 120_000)

/** Runs a block in a page, on this server. */
async function run(file: string, url: string, page: object): Promise<void> {
  const bundle = file.replace('.ts', '.mjs')
  await build({
    entryPoints: [file],
    outfile: bundle,
    alias: { 'annulus-client': resolve(here, '../src/index.ts') },
    bundle: true,
    format: 'esm',
    target: 'es2022',
  })
  writeFileSync(bundle, readFileSync(bundle, 'utf8').replaceAll('ws://127.0.0.1:9000/v1', url))
  for (const [name, value] of Object.entries({ WebSocket, ...page })) vi.stubGlobal(name, value)
  onTestFinished(() => void vi.unstubAllGlobals())
  await import(/* @vite-ignore */ bundle)
}

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
