// Random histories of many clients, two of which are tabs of one origin: offline and online, with clocks that are hours
// off, reloads in the middle, stores that fail, and a server that is killed and started again. At rest every client shows what the server has, and nothing
// that was written is lost.
//
// A failure names its seed; `ANNULUS_SEED=<n>` runs that one alone, `ANNULUS_SEEDS=<n>` so many.

import 'fake-indexeddb/auto'
import { expect, onTestFinished, test, vi } from 'vitest'
import { type AckLevel, type Annulus, indexedDb, memoryStore, type Offline } from '../src'
import { FakeLocks } from './locks'
import { Random } from './random'
import { connect, type Server, startServer, until } from './server'

const CLIENTS = 4
const STEPS = 120
const KEYS = ['a', 'b', 'c', 'd']

const chosen = process.env.ANNULUS_SEED
const seeds = chosen
  ? [Number(chosen)]
  : Array.from({ length: Number(process.env.ANNULUS_SEEDS ?? 6) }, (_, seed) => seed)

class Actor {
  db: Annulus
  #storeFails = false

  constructor(
    private readonly server: Server,
    readonly name: string,
    private readonly skewMs: number,
    /** What it keeps things in, opened anew with each reload. */
    private readonly offline: () => Offline,
  ) {
    this.db = this.#open()
  }

  #open(): Annulus {
    const offline = this.offline()
    const { store } = offline
    const write = Object.getPrototypeOf(store).write.bind(store)
    store.write = changes => (this.#storeFails ? Promise.reject(new Error('the disk is full')) : write(changes))
    // What the client takes for the time when it begins; from then on it goes by the monotonic clock.
    const now = Date.now() + this.skewMs
    const clock = vi.spyOn(Date, 'now').mockReturnValue(now)
    try {
      return connect(this.server, { offline, ack: 'durable' satisfies AckLevel })
    } finally {
      clock.mockRestore()
    }
  }

  get values() {
    return this.db.map<string>('values')
  }
  get sets() {
    return this.db.set<string>('sets')
  }
  get counts() {
    return this.db.counter('counts')
  }

  async step(random: Random, written: Written): Promise<void> {
    const key = random.pick(KEYS)
    const word = `${this.name}${written.count++}`
    switch (random.below(12)) {
      case 0:
      case 1:
        void this.values.set(key, word)
        break
      case 2:
        void this.values.delete(key)
        break
      case 3:
        // Each in a key of its own, which nobody else writes to: it must be there in the end.
        void this.values.set(`own:${word}`, word)
        written.own.add(word)
        break
      case 4:
      case 5:
        void this.sets.add(key, word)
        written.added.add(word)
        break
      case 6: {
        const [victim] = this.sets.get(key)
        if (victim === undefined) break
        void this.sets.remove(key, victim)
        written.removed.add(victim)
        break
      }
      case 7:
      case 8: {
        const by = random.below(20) - 5
        void this.counts.increment(key, by)
        written.counted += by
        break
      }
      case 9:
        if (this.db.state === 'offline') this.db.connect()
        else this.db.disconnect()
        break
      case 10:
        this.#storeFails = random.below(2) === 0
        break
      default:
        await this.reload()
    }
  }

  /** As a page is: what is not in the store is gone, so it waits for that, as far as the store lets it. */
  async reload(): Promise<void> {
    this.#storeFails = false
    await this.db.saved()
    await this.db.close()
    this.db = this.#open()
  }

  mend(): void {
    this.#storeFails = false
    this.db.connect()
  }

  /** All that it shows. */
  shown() {
    return {
      values: [...this.values.entries()],
      sets: [...this.sets.entries()].map(([key, values]) => [key, [...values].sort()]),
      counts: [...this.counts.entries()].filter(([, count]) => count !== 0),
    }
  }
}

/** The keys that are shown otherwise here than there. */
function difference(shown: object, truth: object): unknown {
  const rows = (of: object) =>
    Object.entries(of).flatMap(([map, rows]) => (rows as [string, unknown][]).map(row => JSON.stringify([map, ...row])))
  const [here, there] = [rows(shown), rows(truth)]
  return { here: here.filter(row => !there.includes(row)), there: there.filter(row => !here.includes(row)) }
}

interface Written {
  count: number
  own: Set<string>
  added: Set<string>
  removed: Set<string>
  counted: number
}

test.each(seeds)(
  'all clients show what the server has, and nothing is lost (seed %d)',
  { timeout: 60_000 },
  async seed => {
    const random = new Random(seed)
    const server = await startServer({ onDisk: true })
    const skews = [0, 3 * 3600_000, -5 * 3600_000, 1_000]
    vi.stubGlobal('navigator', { locks: new FakeLocks() })
    onTestFinished(() => void vi.unstubAllGlobals())
    const origin = `histories-${seed}-${Math.random()}`
    const stores = [memoryStore(), memoryStore()]
    const offline = (i: number) => (i < 2 ? () => indexedDb(origin) : () => stores[i - 2] as Offline)
    const actors = Array.from(
      { length: CLIENTS },
      (_, i) => new Actor(server, 'wxyz'[i] as string, skews[i] as number, offline(i)),
    )
    const written: Written = { count: 0, own: new Set(), added: new Set(), removed: new Set(), counted: 0 }
    for (const { values, sets, counts } of actors) expect([values.size, sets.size, counts.size]).toBeDefined()
    for (let step = 0; step < STEPS; step++) {
      await random.pick(actors).step(random, written)
      if (random.below(40) === 0) {
        await server.stop(random.below(2) === 0 ? 'SIGKILL' : 'SIGTERM')
        await server.start()
      }
      if (random.below(3) === 0) await new Promise(resolve => setTimeout(resolve, random.below(30)))
    }

    for (const actor of actors) actor.mend()
    await Promise.all(actors.flatMap(({ values, sets, counts }) => [values.synced(), sets.synced(), counts.synced()]))
    const reader = connect(server)
    const [values, sets, counts] = [reader.map<string>('values'), reader.set<string>('sets'), reader.counter('counts')]
    await Promise.all([values.synced(), sets.synced(), counts.synced()])
    const truth = {
      values: [...values.entries()],
      sets: [...sets.entries()].map(([key, values]) => [key, [...values].sort()]),
      counts: [...counts.entries()].filter(([, count]) => count !== 0),
    }
    for (const actor of actors) {
      const isSame = () => JSON.stringify(actor.shown()) === JSON.stringify(truth)
      await until(isSame, () => [actor.name, difference(actor.shown(), truth)])
      await until(
        () => actor.db.pending === 0,
        () => [actor.name, actor.db.pending],
      )
    }
    for (const word of written.own) expect(values.get(`own:${word}`)).toBe(word)
    const present = new Set([...sets.values()].flat())
    for (const word of written.added) expect([word, present.has(word)]).toEqual([word, !written.removed.has(word)])
    expect([...counts.values()].reduce((sum, count) => sum + count, 0)).toBe(written.counted)
  },
)
