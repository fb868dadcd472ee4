// What the client costs: bytes on the wire to a page, and work with 100 000 entries. It is counted, as time says more of
// the machine; `npm run bench` measures that.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import type { LwwMap } from '../src'
import { asking, changes, ENTRIES, type Item } from './many'

// Bundled, as an application has it: a test runner's own way to load modules is far slower.
const folder = mkdtempSync(join(tmpdir(), 'annulus-cost-'))
afterAll(() => rmSync(folder, { recursive: true }))
const bundle = join(folder, 'client.mjs')
await build({
  entryPoints: [resolve(import.meta.dirname, '../src/index.ts')],
  bundle: true,
  format: 'esm',
  target: 'es2022',
  outfile: bundle,
})
const { Annulus } = (await import(/* @vite-ignore */ bundle)) as typeof import('../src')

/** A client that has asked for a map of so many entries, and the texts that answer it. */
async function ready(count = ENTRIES): ReturnType<typeof asking> {
  const asked = await asking(Annulus, count)
  onTestFinished(() => asked.db.close())
  return asked
}

test('a snapshot keeps each entry once, and sets no timer for what comes', async () => {
  const { items, say, texts } = await ready()
  const { maps, characters, moves, timers } = workOf(() => texts.forEach(say))
  expect(items.size).toBe(ENTRIES)
  // Looked up and kept in the replica and in the view, and beside that a little for each message.
  expect(maps).toBeLessThan(4.1 * ENTRIES)
  // One for each stamp; nothing is sorted before somebody asks.
  expect(characters).toBeLessThan(1.1 * ENTRIES)
  expect(moves).toBeLessThan(10 * texts.length)
  expect(timers).toBe(0)
})

test('what one change costs does not grow with the map', { timeout: 120_000 }, async () => {
  const works: Work[] = []
  for (const count of [1_000, 10_000, ENTRIES]) {
    const { items, say, texts } = await ready(count)
    texts.forEach(say)
    const told = watched(items)
    const some = changes(400, count)
    const work = workOf(() => some.forEach(say))
    expect(told.times).toBeGreaterThan(some.length)
    works.push(work)
    console.log(`400 changes in ${count}: ${JSON.stringify(work)}`)
    expect(work.maps).toBeLessThan(20 * some.length)
    expect(work.moves).toBeLessThan(5 * some.length)
    expect(work.timers).toBe(0)
  }
  // Three sorted lists, in each of which a place is found by halving: ten times the entries are four looks more.
  const [few, more, most] = works.map(({ characters }) => characters / 400) as [number, number, number]
  const looks = 3 * 2 * 4 * 'item-12345'.length
  expect(more - few).toBeLessThan(looks)
  expect(most - more).toBeLessThan(looks)
})

/** Has the map sorted, two queries kept, and listeners: to all, to one key, to both queries. */
function watched(items: LwwMap<Item>): { times: number } {
  expect([...items.keys()].length).toBe(items.size)
  const told = { times: 0 }
  const heard = () => told.times++
  items.query({ where: { done: false }, sort: ['-priority'], limit: 50 }).subscribe(heard)
  items.query({ where: { priority: { ge: 5 } }, sort: ['priority', 'title'] }).subscribe(heard)
  items.subscribe('item-7', heard)
  items.subscribe(heard)
  return told
}

interface Work {
  maps: number
  characters: number
  moves: number
  timers: number
}

/**
 * How often `work` looks something up or keeps it, compares texts (by each of their characters), moves items of lists,
 * and sets timers.
 */
function workOf(work: () => void): Work {
  const count: Work = { maps: 0, characters: 0, moves: 0, timers: 0 }
  const restores: (() => void)[] = []
  const counting = (object: object, names: string[], kind: keyof Work) => {
    const methods = object as { [name: string]: (...given: unknown[]) => unknown }
    for (const name of names) {
      const real = methods[name] as (...given: unknown[]) => unknown
      methods[name] = function (...given) {
        count[kind] += 1
        return real.apply(this, given)
      }
      restores.push(() => {
        methods[name] = real
      })
    }
  }
  counting(Map.prototype, ['get', 'set', 'has', 'delete'], 'maps')
  counting(Set.prototype, ['add', 'has', 'delete'], 'maps')
  counting(String.prototype, ['charCodeAt'], 'characters')
  counting(Array.prototype, ['splice', 'push', 'slice'], 'moves')
  counting(globalThis, ['setTimeout', 'clearTimeout'], 'timers')
  try {
    work()
  } finally {
    for (const restore of restores) restore()
  }
  return count
}

/** Bytes of a program that is built for a page, and gzipped. */
async function bytesOf(program: string): Promise<number> {
  const source = (name: string) => resolve(import.meta.dirname, `../src/${name}.ts`)
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: import.meta.dirname },
    alias: {
      'annulus-client/core': source('core'),
      'annulus-client/remote': source('remote'),
      'annulus-client': source('index'),
    },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  })
  return gzipSync(outputFiles[0]?.contents as Uint8Array, { level: 9 }).length
}

test('maps, presence and channels take 12 kB, all of it 20, and queries of the server 2 more', async () => {
  const core = await bytesOf(`
    import { Annulus } from 'annulus-client/core'
    const db = new Annulus('wss://sync.example/v1')
    db.map('todos').set('a', 1)
    db.room('doc').join()
    db.channel('chat').join()`)
  const all = `
    import { Annulus, indexedDb } from 'annulus-client'
    const db = new Annulus('wss://sync.example/v1', { offline: indexedDb('app') })
    db.map('todos').query()`
  const [whole, asking] = [
    await bytesOf(all),
    await bytesOf(`${all}
    import { remoteMap } from 'annulus-client/remote'
    remoteMap(db, 'todos').query()`),
  ]
  console.log(`gzipped: core ${core} bytes, all ${whole}, with queries of the server ${asking}`)
  expect(core).toBeLessThanOrEqual(12_000)
  expect(whole).toBeLessThanOrEqual(20_000)
  expect(asking - whole).toBeLessThanOrEqual(2_000)
})
