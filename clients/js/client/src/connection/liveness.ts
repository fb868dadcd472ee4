// Whether the other end is still there. A browser does not show the pings of WebSocket, so a connection through which
// nothing came for a while is asked, and one that does not answer is given up.

/** How long an answer to a ping may take. */
const PATIENCE_MS = 5_000

export class Liveness {
  #timer: ReturnType<typeof setTimeout> | undefined
  #isAsked = false

  constructor(
    private readonly quietMs: number,
    private readonly ask: () => void,
    private readonly lost: () => void,
  ) {
    this.heard()
  }

  /** Something has come. */
  heard(): void {
    this.#isAsked = false
    this.#wait(this.quietMs)
  }

  /** Asks at once, as something has happened after which connections are often dead. */
  check(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.ask()
    this.#wait(PATIENCE_MS)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => (this.#isAsked ? this.lost() : this.check()), ms)
  }
}
