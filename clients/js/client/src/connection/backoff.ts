// How long to wait before the next attempt, so that a server that comes back is not met by everybody at once.

const FIRST_MS = 250
const LONGEST_MS = 30_000
/** A connection that held for so long was a good one: the next attempt is a first one. */
const GOOD_MS = 5_000

/** Full jitter: anything between nothing and a limit that doubles with each attempt. */
export class Backoff {
  #attempts = 0

  constructor(private readonly random: () => number = Math.random) {}

  next(): number {
    const limit = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#attempts, 20))
    this.#attempts += 1
    return this.random() * limit
  }

  /** A connection has ended that was open for so long. */
  held(ms: number): void {
    if (ms >= GOOD_MS) this.#attempts = 0
  }

  reset(): void {
    this.#attempts = 0
  }
}

/** What the reason of a close code asks for (`retry_after_ms=<n>`). */
export function retryAfterMs(reason: string): number | undefined {
  const found = /retry_after_ms=(\d+)/.exec(reason)
  return found ? Number(found[1]) : undefined
}
