// The package, as it is built and installed, in Deno and Bun: with their own WebSocket, and files by their `node:fs`.

import { execFile } from 'node:child_process'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'tsup'
import { expect, test } from 'vitest'
import config from '../tsup.config'
import { folder, startServer } from './server'

const here = import.meta.dirname
const installed = (path: string) => resolve(here, '../../node_modules', path)

// By platform, as their packages name them: what would link them is a script of the install, of which none is run.
const PROGRAMS = {
  Deno: [
    installed(`@deno/linux-${process.arch}-glibc/deno`),
    'run',
    '--allow-all',
    '--node-modules-dir=manual',
    '--cached-only',
  ],
  Bun: [installed(`@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`), 'run'],
} as const

/** A folder with a program, and the package beside it. */
async function project(): Promise<string> {
  const root = await folder()
  const kept = join(root, 'node_modules/annulus-client')
  await mkdir(kept, { recursive: true })
  await cp(resolve(here, '../package.json'), join(kept, 'package.json'))
  await build({ ...config, outDir: join(kept, 'dist'), dts: false, silent: true, config: false } as never)
  await cp(join(here, 'smoke.mjs'), join(root, 'smoke.mjs'))
  const manifest = { type: 'module', dependencies: { 'annulus-client': '*' } }
  await writeFile(join(root, 'package.json'), JSON.stringify(manifest))
  return root
}

for (const [name, [program, ...args]] of Object.entries(PROGRAMS)) {
  test(`${name} has all of it`, { timeout: 60_000 }, async () => {
    const server = await startServer({ onDisk: true })
    const cwd = await project()
    const env = { HOME: cwd, DENO_DIR: join(cwd, 'deno'), DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' }
    const given = [...args, 'smoke.mjs', server.url, join(cwd, 'store')]
    const { stdout } = await promisify(execFile)(program, given, { cwd, env, timeout: 40_000 })
    expect(stdout).toBe('all of it works\n')
  })
}
