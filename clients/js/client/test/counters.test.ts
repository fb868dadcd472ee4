// Slots of counters: how long one is counted in, which is the server's to say.

import { afterEach, expect, test, vi } from 'vitest'
import { connect, startServer, until } from './server'

const MINUTE_MS = 60_000

afterEach(() => void vi.useRealTimers())

/** The names under which a client has counted, and what the server makes of it. */
async function countedTwice(flags: string[], silentMs: number): Promise<{ names: string[]; count: number }> {
  const server = await startServer({ flags })
  const db = connect(server)
  const other = connect(server).counter('views')
  const views = db.counter('views')
  const names: string[] = []
  // @ts-expect-error: the engine is the client's own.
  const nameNow = () => names.push([...db.engine.counting.slots()][0].slot.replica)
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  await views.increment('a', 5)
  nameNow()
  vi.setSystemTime(Date.now() + silentMs)
  await views.increment('a')
  nameNow()
  await until(
    () => other.get('a') >= 6,
    () => other.get('a'),
  )
  await until(
    () => views.get('a') === other.get('a'),
    () => views.get('a'),
  )
  return { names, count: other.get('a') }
}

test('a slot that was silent for a quarter of what the server remembers is left for one of another name', async () => {
  const { names, count } = await countedTwice(['--tombstone-retention', '4m'], MINUTE_MS + 1)
  expect(names[0]).not.toBe(names[1])
  expect(count).toBe(6)
})

test('a slot is counted in for as long as the server certainly remembers it', async () => {
  const short = await countedTwice(['--tombstone-retention', '4m'], MINUTE_MS - 1)
  const long = await countedTwice([], 7 * 24 * 60 * MINUTE_MS)
  for (const { names, count } of [short, long]) {
    expect(names[0]).toBe(names[1])
    expect(count).toBe(6)
  }
})
