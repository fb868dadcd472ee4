// Locks that the browser holds for a tab, and lets go of when it is gone, whatever ends it.

export class Locks {
  readonly #releases = new Map<string, () => void>()

  /** Whether tabs can find a leader here: in pages that are secure, of browsers since 2022. */
  static arePossible(): boolean {
    return typeof BroadcastChannel !== 'undefined' && globalThis.navigator?.locks !== undefined
  }

  /** Takes a lock if nobody has it, or, with `isWaiting`, once nobody has. Resolves with whether it is held. */
  take(name: string, isWaiting: boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const options = isWaiting ? {} : { ifAvailable: true }
      navigator.locks
        .request(name, options, lock => {
          resolve(lock !== null)
          if (lock) return new Promise<void>(release => this.#releases.set(name, release))
          return undefined
        })
        .catch(reject)
    })
  }

  release(name: string): void {
    this.#releases.get(name)?.()
    this.#releases.delete(name)
  }

  close(): void {
    for (const release of this.#releases.values()) release()
    this.#releases.clear()
  }
}
