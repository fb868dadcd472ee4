// What an application sees of a map, or of some of its keys: rows in the order of their keys, and who listens to them.
//
// A change costs its own row, its place among the sorted keys once these were asked for, and its listeners.

import { compareText } from '../canonical'
import { call, type Unsubscribe } from '../emitter'
import { Sorted } from '../sorted'
import type { Batch } from './batch'
import { Ends } from './ends'
import { type Filter, passes } from './filter'
import type { Replica } from './replica'

/** A row that is new (`before` is undefined), has another value, or is gone (`value` is undefined). */
export interface Change<V> {
  key: string
  value: V | undefined
  before: V | undefined
}

/** A view, whatever its rows. */
export interface AnyView {
  readonly name: string
  readonly filter: Filter
  begin(): void
}

/** What a view needs of the client. */
export interface ViewHost {
  readonly batch: Batch
  now(): number
  /** Resolves once the map is as the server has it, and the server has all that was written to it here. */
  synced(map: string): Promise<void>
  /** The view is not needed any more. */
  closed(view: AnyView): void
  /** A value is not what the application takes for one. */
  invalid(problem: { map: string; key: string; value: unknown; error: unknown }): void
}

type Listener<S, V> = (view: S, changes: readonly Change<V>[]) => void

export abstract class View<V> {
  protected readonly rows = new Map<string, V>()
  readonly #listeners = new Set<(changes: readonly Change<V>[]) => void>()
  readonly #keyListeners = new Map<string, Set<(value: V | undefined) => void>>()
  /** Queries, which are told before all others. */
  protected readonly followers = new Set<(changes: readonly Change<V>[]) => void>()
  /** Sorted once somebody asks. */
  #order: Sorted<string> | null = null
  /** What rows of this batch were before, as far as somebody wants to hear of them. */
  #before = new Map<string, V | undefined>()
  /** Rows have changed of which nobody wants to hear. */
  #isUnheard = false
  /** Whether the batch knows that there is something to tell. */
  #isWaiting = false
  #version = 0
  readonly #ends: Ends

  constructor(
    /** The name of the map. */
    readonly name: string,
    readonly filter: Filter,
    protected readonly replica: Replica,
    protected readonly host: ViewHost,
  ) {
    this.#ends = new Ends(
      () => host.now(),
      key => host.batch.run(() => this.touched(key, replica.base.get(key))),
    )
  }

  /** @internal Shows what is there, and what comes from now on. */
  begin(): void {
    this.replica.viewers.add(this)
    this.host.batch.run(() => {
      for (const key of this.replica.keys()) this.touched(key, this.replica.base.get(key))
    })
  }

  /** What is shown of a key: the value itself, or what the application makes of it. */
  protected abstract read(key: string, cell: unknown): V | undefined
  protected abstract isSame(a: V, b: V): boolean

  get(key: string): V | undefined {
    return this.rows.get(key)
  }

  has(key: string): boolean {
    return this.rows.has(key)
  }

  get size(): number {
    return this.rows.size
  }

  /** Grows with each change, so that it tells cheaply whether there was one. */
  get version(): number {
    return this.#version
  }

  /** Keys in the order of their UTF-8 bytes, from `start` on. Nothing may change while they are read. */
  keys(start?: string): IterableIterator<string> {
    if (!this.#order) {
      this.#order = new Sorted<string>(compareText)
      this.#order.fill([...this.rows.keys()])
    }
    return this.#order.from(start)
  }

  *values(): IterableIterator<V> {
    for (const key of this.keys()) yield this.rows.get(key) as V
  }

  /** Keys with their values, in order. */
  *entries(start?: string): IterableIterator<[key: string, value: V]> {
    for (const key of this.keys(start)) yield [key, this.rows.get(key) as V]
  }

  [Symbol.iterator](): IterableIterator<[key: string, value: V]> {
    return this.entries()
  }

  /**
   * Calls the listener now, and after each change. With a key it hears of that key alone and gets its value; without
   * one it gets this view, and what has changed. It follows the contract of Svelte's stores.
   */
  subscribe(listener: (view: this, changes: readonly Change<V>[]) => void): Unsubscribe
  subscribe(key: string, listener: (value: V | undefined) => void): Unsubscribe
  subscribe(first: string | Listener<this, V>, second?: (value: V | undefined) => void): Unsubscribe {
    if (typeof first !== 'string') {
      const own = (changes: readonly Change<V>[]) => first(this, changes)
      this.#listeners.add(own)
      call(() => own([]))
      return () => this.#listeners.delete(own)
    }
    const own = (value: V | undefined) => second?.(value)
    let set = this.#keyListeners.get(first)
    if (!set) this.#keyListeners.set(first, (set = new Set()))
    set.add(own)
    call(() => own(this.rows.get(first)))
    return () => {
      if (set.delete(own) && set.size === 0) this.#keyListeners.delete(first)
    }
  }

  /** Whether this is what the server has, but for changes on their way. */
  get isSynced(): boolean {
    return this.replica.isSynced
  }

  /** Resolves once this is what the server has, and the server has all that was written to the map here. */
  synced(): Promise<void> {
    return this.host.synced(this.name)
  }

  /** Ends it: nothing is heard of its keys any more, unless others want them. What was written stays written. */
  close(): void {
    this.replica.viewers.delete(this)
    this.#ends.stop()
    this.host.closed(this)
  }

  /** @internal The replica has another state of a key. */
  touched(key: string, cell: unknown): void {
    if (!passes(this.filter, key)) return
    const value = this.read(key, cell)
    const before = this.rows.get(key)
    this.#ends.set(key, value === undefined ? undefined : this.replica.endsAt(key, cell))
    if (value === before || (value !== undefined && before !== undefined && this.isSame(value, before))) return
    if (value === undefined) {
      this.rows.delete(key)
      this.#order?.remove(key)
    } else {
      this.rows.set(key, value)
      if (before === undefined) this.#order?.add(key)
    }
    if (!this.#isHeard(key)) this.#isUnheard = true
    else if (!this.#before.has(key)) this.#before.set(key, before)
    if (this.#isWaiting) return
    this.#isWaiting = true
    this.host.batch.later(this)
  }

  #isHeard(key: string): boolean {
    const keys = this.#keyListeners
    return this.#listeners.size > 0 || this.followers.size > 0 || (keys.size > 0 && keys.has(key))
  }

  /** @internal The batch is at its end. */
  tell(): void {
    this.#isWaiting = false
    const changes: Change<V>[] = []
    for (const [key, before] of this.#before) {
      const value = this.rows.get(key)
      if (value !== before) changes.push({ key, value, before })
    }
    if (changes.length > 0 || this.#isUnheard) this.#version += 1
    this.#isUnheard = false
    if (this.#before.size > 0) this.#before = new Map()
    if (changes.length === 0) return
    for (const follower of this.followers) follower(changes)
    if (this.#keyListeners.size > 0) {
      for (const { key, value } of changes) {
        for (const listener of [...(this.#keyListeners.get(key) ?? [])]) call(() => listener(value))
      }
    }
    for (const listener of [...this.#listeners]) call(() => listener(changes))
  }
}
