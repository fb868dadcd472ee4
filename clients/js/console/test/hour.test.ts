// @vitest-environment happy-dom
// The last hour, as a page asks for it: each second is there once.

import { expect, onTestFinished, test, vi } from 'vitest'
import { Hour } from '../src/hour'

const { signal } = new AbortController()

/** Of a server on two shards that has these seconds. */
function serve(seconds: number[]): void {
  vi.stubGlobal('fetch', (url: string) => {
    const after = Number(new URL(url, 'http://server').searchParams.get('after') ?? 0)
    const unix_ms = seconds.map(second => second * 1000).filter(at => at > after)
    const sum = { connections: unix_ms.map(at => at / 1000) }
    return Promise.resolve(Response.json({ interval_ms: 1000, unix_ms, sum, shards: [sum, sum] }))
  })
  onTestFinished(() => void vi.unstubAllGlobals())
}

test('seconds that are asked for twice at once are there once, of all shards too', async () => {
  const seconds = [1, 2, 3]
  serve(seconds)
  const hour = new Hour(true)
  await Promise.all([hour.update(signal), hour.update(signal)])
  expect(hour.unixMs).toEqual([1000, 2000, 3000])
  seconds.push(4, 5)
  await Promise.all([hour.update(signal), hour.update(signal)])
  expect(hour.unixMs).toEqual([1000, 2000, 3000, 4000, 5000])
  for (const values of [hour.sum, ...hour.shards]) expect(values.connections).toEqual(seconds)
})

test('seconds that are missing are a gap', async () => {
  const seconds = [1]
  serve(seconds)
  const hour = new Hour()
  expect(await hour.update(signal)).toBe(true)
  expect(await hour.update(signal)).toBe(false)
  seconds.push(9, 10)
  expect(await hour.update(signal)).toBe(true)
  expect(hour.unixMs).toEqual([1000, 2000, 9000, 10_000])
  expect(hour.sum.connections).toEqual([1, null, 9, 10])
})
