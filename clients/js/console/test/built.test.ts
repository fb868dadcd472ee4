// The console that is in the repository, and so in the server, is the one that its sources make, and is small.

import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'
import { expect, test } from 'vitest'
import { folder } from '../../client/test/server'

/** Of the whole page by gzip, of which uPlot is 22 KiB. */
const BYTES_MAX = 52 << 10

const root = resolve(import.meta.dirname, '..')

test('the console is what its sources make', async () => {
  const outDir = await folder()
  await build({ configFile: join(root, 'vite.config.ts'), build: { outDir }, mode: 'production', logLevel: 'error' })
  const [made, kept] = await Promise.all([outDir, join(root, 'page')].map(at => readFile(join(at, 'index.html'))))
  const isSame = made?.equals(kept as Buffer)
  const advice = 'console/page/index.html is not what console/src makes: run `npm run page` in clients/js, and commit'
  expect(isSame, advice).toBe(true)
})

test('it is small, and has all that it needs inside', async () => {
  const page = await readFile(join(root, 'page', 'index.html'))
  expect(gzipSync(page, { level: 9 }).length).toBeLessThan(BYTES_MAX)
  expect(`${page}`).not.toMatch(/(src|href)="(?!#|data:)/)
})
