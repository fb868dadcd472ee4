// The page that is in the repository, and so in the server, is the one that its sources make.

import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { build } from 'vite'
import { expect, test } from 'vitest'
import { folder } from '../../client/test/server'

test('the page is what its sources make', async () => {
  const root = resolve(import.meta.dirname, '..')
  const outDir = await folder()
  await build({ configFile: join(root, 'vite.config.ts'), build: { outDir }, mode: 'production', logLevel: 'error' })
  const [made, kept] = await Promise.all([outDir, join(root, 'page')].map(at => readFile(join(at, 'index.html'))))
  const isSame = made?.equals(kept as Buffer)
  expect(isSame, 'demo/page/index.html is not what demo/src makes: run `npm run page` in clients/js, and commit').toBe(
    true,
  )
})
