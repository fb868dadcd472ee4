// Listeners are told once of all that one message, or one call, has changed.

export class Batch {
  #depth = 0
  readonly #waiting = new Set<{ tell(): void }>()

  run<R>(work: () => R): R {
    this.#depth += 1
    try {
      return work()
    } finally {
      this.#depth -= 1
      if (this.#depth === 0) this.#flush()
    }
  }

  /** Tells it at the end, or now where nothing is under way. */
  later(teller: { tell(): void }): void {
    this.#waiting.add(teller)
    if (this.#depth === 0) this.#flush()
  }

  #flush(): void {
    for (const teller of this.#waiting) {
      this.#waiting.delete(teller)
      teller.tell()
    }
  }
}
