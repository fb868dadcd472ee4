// Stamps and the hybrid clock that makes them (docs/protocol.md, Clocks of clients).
//
// Invariant: every stamp is greater than all that were made or seen before it, whatever the clock of this machine does.

const COUNTER_MAX = 65_535
const COLON = 58

export interface Stamp {
  millis: number
  counter: number
  node: string
}

export function parseStamp(at: string): Stamp {
  const first = at.indexOf(':')
  const second = at.indexOf(':', first + 1)
  return { millis: +at.slice(0, first), counter: +at.slice(first + 1, second), node: at.slice(second + 1) }
}

/** Milliseconds, counter, and the node by its bytes, which are ASCII. */
export function compareStamps(a: string, b: string): number {
  if (a === b) return 0
  const x = parseStamp(a)
  const y = parseStamp(b)
  return x.millis - y.millis || x.counter - y.counter || (x.node < y.node ? -1 : x.node > y.node ? 1 : 0)
}

/** A name that nobody else has: 32 hexadecimal digits. */
export function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

export class HybridClock {
  #millis = 0
  /** The same as text. */
  #text = '0'
  #counter = 0
  /** What to add to the monotonic clock of this process to have the time of the server. */
  #offset: number

  constructor(
    readonly node: string,
    private readonly source: { wall(): number; monotonic(): number } = {
      wall: () => Date.now(),
      monotonic: () => performance.now(),
    },
  ) {
    this.#offset = source.wall() - source.monotonic()
  }

  /** The time of the server in Unix milliseconds, as far as it is known. */
  now(): number {
    return Math.floor(this.source.monotonic() + this.#offset)
  }

  /** How far the server is ahead of the wall clock here. */
  get ahead(): number {
    return Math.round(this.#offset + this.source.monotonic() - this.source.wall())
  }

  /** Starts from what an earlier run knew. */
  restore(known: { last: string; ahead: number }): void {
    this.#offset += known.ahead
    this.observe(known.last)
  }

  /** The greatest stamp that was made or seen. */
  get last(): string {
    return `${this.#millis}:${this.#counter}:${this.node}`
  }

  /** The next stamp. */
  tick(): string {
    const now = this.now()
    if (now > this.#millis) this.#set(now, 0)
    else if (this.#counter < COUNTER_MAX) this.#counter += 1
    else this.#set(this.#millis + 1, 0)
    return this.last
  }

  /** Takes note of a stamp that was told, so that later ones are greater. */
  observe(at: string): void {
    // Most that come are older. Milliseconds of thirteen digits, as they are until 2286, say so as texts, too.
    if (at.charCodeAt(13) === COLON && this.#text.length === 13 && at < this.#text) return
    const millis = Number.parseInt(at, 10)
    if (millis < this.#millis) return
    const { counter } = parseStamp(at)
    if (millis > this.#millis || (millis === this.#millis && counter > this.#counter)) this.#set(millis, counter)
  }

  /** The server tells its time. It is what counts from now on, unless stamps are further ahead. */
  follow(time: string): void {
    this.#offset = parseStamp(time).millis - this.source.monotonic()
    this.observe(time)
  }

  /** The server has refused a stamp as too far ahead: its time is taken, back if need be. */
  correct(time: string): void {
    const { millis, counter } = parseStamp(time)
    this.#offset = millis - this.source.monotonic()
    this.#set(millis, counter)
  }

  #set(millis: number, counter: number): void {
    if (millis !== this.#millis) this.#text = `${millis}`
    this.#millis = millis
    this.#counter = counter
  }
}
