// Measures the client in Chromium: `npm run bench --workspace client`. Each run is a page of its own, as a user's
// first one is; medians with [min–max] are printed.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const RUNS = Number(process.env.ANNULUS_RUNS ?? 5)

const folder = await mkdtemp(join(tmpdir(), 'annulus-bench-'))
const script = join(folder, 'page.js')
await build({
  entryPoints: [resolve(import.meta.dirname, 'page.ts')],
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  outfile: script,
})
const browser = await chromium.launch({
  executablePath: process.env.ANNULUS_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
})
const runs = []
for (let run = 0; run < RUNS; run++) {
  const page = await browser.newPage()
  await page.addScriptTag({ path: script })
  runs.push(await page.evaluate('measure()'))
  await page.close()
}
console.log(`${browser.version()}, ${RUNS} runs`)
for (const name of Object.keys(runs[0])) {
  const values = runs.map(run => run[name]).sort((a, b) => a - b)
  const [low, middle, high] = [values[0], values[RUNS >> 1], values[RUNS - 1]].map(value => value.toFixed(1))
  console.log(`${name.padEnd(12)} ${middle} [${low}–${high}]`)
}
await browser.close()
await rm(folder, { recursive: true })
