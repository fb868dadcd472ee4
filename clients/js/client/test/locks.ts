// Web Locks, which Node 20 does not have, as far as the client uses them.

interface Waiting {
  grant(): void
}

export class FakeLocks {
  readonly #held = new Map<string, Waiting[]>()

  request(
    name: string,
    options: { ifAvailable?: boolean },
    work: (lock: object | null) => Promise<void> | undefined,
  ): Promise<void> {
    const waiting = this.#held.get(name)
    if (!waiting) {
      this.#held.set(name, [])
      return this.#run(name, work)
    }
    if (options.ifAvailable) return Promise.resolve(work(null))
    return new Promise((resolve, reject) => {
      waiting.push({ grant: () => void this.#run(name, work).then(resolve, reject) })
    })
  }

  async #run(name: string, work: (lock: object | null) => Promise<void> | undefined): Promise<void> {
    try {
      await Promise.resolve()
      await work({ name })
    } finally {
      const next = this.#held.get(name)?.shift()
      if (next) next.grant()
      else this.#held.delete(name)
    }
  }
}
