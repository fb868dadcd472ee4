// The rows of a query, whoever finds them: as a list that stays the same object until they change, and who listens.

import { call, type Unsubscribe } from '../emitter'
import type { Batch } from '../maps/batch'

export abstract class Rows<T> {
  readonly #listeners = new Set<(query: this) => void>()
  #shown: readonly [key: string, value: T][] | null = null
  #version = 0

  constructor(private readonly batch: Batch) {}

  /** What is to be shown now, in order. */
  protected abstract list(): [key: string, value: T][]

  /** The rows, in order. The same list until they change. */
  get rows(): readonly [key: string, value: T][] {
    this.#shown ??= this.list()
    return this.#shown
  }

  [Symbol.iterator](): Iterator<[key: string, value: T]> {
    return this.rows[Symbol.iterator]() as Iterator<[key: string, value: T]>
  }

  /** Grows with each change, so that it tells cheaply whether there was one. */
  get version(): number {
    return this.#version
  }

  /** Calls the listener now, and whenever the rows change. */
  subscribe(listener: (query: this) => void): Unsubscribe {
    const own = (query: this) => listener(query)
    this.#listeners.add(own)
    call(() => own(this))
    return () => this.#listeners.delete(own)
  }

  close(): void {
    this.#listeners.clear()
  }

  /** Other rows are to be shown. */
  protected changed(): void {
    this.#shown = null
    this.#version += 1
    this.batch.later(this)
  }

  /** @internal */
  tell(): void {
    for (const listener of [...this.#listeners]) call(() => listener(this))
  }
}
