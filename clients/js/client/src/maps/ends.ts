// Values that end by themselves: one timer for the one that ends first.

import { compareText } from '../canonical'
import { Sorted } from '../sorted'

interface End {
  at: number
  key: string
}

/** Timers cannot wait for longer. */
const LONGEST_MS = 2 ** 31 - 1

export class Ends {
  readonly #byKey = new Map<string, End>()
  readonly #order = new Sorted<End>((a, b) => a.at - b.at || compareText(a.key, b.key))
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly now: () => number,
    private readonly ended: (key: string) => void,
  ) {}

  set(key: string, at: number | undefined): void {
    if (at === undefined && this.#byKey.size === 0) return
    const known = this.#byKey.get(key)
    if (known?.at === at) return
    if (known) {
      this.#byKey.delete(key)
      this.#order.remove(known)
    }
    if (at !== undefined) {
      const end = { at, key }
      this.#byKey.set(key, end)
      this.#order.add(end)
    }
    this.#wait()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #wait(): void {
    clearTimeout(this.#timer)
    const first = this.#order.first()
    if (first) this.#timer = setTimeout(() => this.#due(), Math.min(Math.max(first.at - this.now(), 0), LONGEST_MS))
  }

  #due(): void {
    for (let first = this.#order.first(); first && first.at <= this.now(); first = this.#order.first()) {
      this.#order.remove(first)
      this.#byKey.delete(first.key)
      this.ended(first.key)
    }
    this.#wait()
  }
}
