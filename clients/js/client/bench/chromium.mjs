// Measures the client in Chromium: `npm run bench`, with ANNULUS_RUNS of 5. Each run is a page of its own, as a user's
// first one is. Printed are medians with [min–max], and the processor's time of the page's main thread, which others
// on the machine prolong less.

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
  format: 'esm',
  target: 'es2022',
  outfile: script,
})
const browser = await chromium.launch({
  executablePath: process.env.ANNULUS_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
})

/** Milliseconds of each step of one run, and of the processor. */
const found = new Map()
for (let run = 0; run < RUNS; run++) {
  const page = await browser.newPage()
  await page.addScriptTag({ path: script, type: 'module' })
  await page.waitForFunction('globalThis.steps')
  const session = await page.context().newCDPSession(page)
  await session.send('Performance.enable')
  const processorMs = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    return 1000 * metrics.find(({ name }) => name === 'ThreadTime').value
  }
  for (const name of await page.evaluate('Object.keys(steps)')) {
    await session.send('HeapProfiler.collectGarbage')
    const before = await processorMs()
    const ms = await page.evaluate(`steps[${JSON.stringify(name)}]()`)
    const steps = found.get(name) ?? { wall: [], processor: [] }
    found.set(name, steps)
    steps.wall.push(ms)
    steps.processor.push((await processorMs()) - before)
  }
  await page.close()
}
console.log(`Chromium ${browser.version()}, ${RUNS} runs`)
for (const [name, { wall, processor }] of found) {
  const [low, middle, high] = numbers(wall)
  const isEach = name.startsWith('one ')
  console.log(`${name}: ${middle} [${low}–${high}] ms${isEach ? '' : `, of the processor ${numbers(processor)[1]} ms`}`)
}
await browser.close()
await rm(folder, { recursive: true })

/** The least, the median and the greatest. */
function numbers(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const digits = sorted[0] < 1 ? 3 : 0
  return [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)].map(value => value.toFixed(digits))
}
