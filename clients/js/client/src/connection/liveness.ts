// Whether the other end is still there. A browser does not show the pings of WebSocket, so a connection through which
// nothing came for a while is asked, and one that does not answer is given up.

/** How long an answer to a ping may take. */
const PATIENCE_MS = 5_000

export class Liveness {
  #timer: ReturnType<typeof setTimeout> | undefined
  #isAsked = false
  #heardAt = 0

  constructor(
    private readonly quietMs: number,
    private readonly ask: () => void,
    private readonly lost: () => void,
  ) {
    this.heard()
    this.#wait(quietMs)
  }

  /** Something has come. It is only noted, as timers cost more than most messages do. */
  heard(): void {
    this.#heardAt = performance.now()
    if (!this.#isAsked) return
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
    this.#timer = setTimeout(() => this.#due(), ms)
  }

  #due(): void {
    if (this.#isAsked) return this.lost()
    const restMs = this.#heardAt + this.quietMs - performance.now()
    if (restMs > 0) this.#wait(restMs)
    else this.check()
  }
}
