// A store that lasts as long as the process: for tests, and for clients that come and go within one page.

import type { Offline } from '../engine'
import { AnnulusError } from '../errors'
import { Lasting } from '../lasting'
import type { Store, StoreChange } from './store'

export function memoryStore(): Offline {
  return { store: new MemoryStore(), Lasting }
}

class MemoryStore implements Store {
  /** As text, so that nobody changes what is kept. */
  readonly #records = new Map<string, string>()
  #isOpen = false

  async open(): Promise<void> {
    if (this.#isOpen) throw new AnnulusError('storage_in_use', 'another client has this store open')
    this.#isOpen = true
  }

  async read(prefix: string): Promise<[string, unknown][]> {
    const found: [string, unknown][] = []
    for (const [key, text] of this.#records) if (key.startsWith(prefix)) found.push([key, JSON.parse(text)])
    return found
  }

  async write(changes: readonly StoreChange[]): Promise<void> {
    for (const [key, value] of changes) {
      if (value === undefined) this.#records.delete(key)
      else this.#records.set(key, JSON.stringify(value))
    }
  }

  async erase(): Promise<void> {
    this.#records.clear()
  }

  async close(): Promise<void> {
    this.#isOpen = false
  }
}
