// A map that one of the other tabs shows: it is told what the leader's replica has, and what changes there.

import type { AnnulusError } from '../errors'
import type { Feed, FeedWatcher } from '../feeds'
import { type Filter, passes } from '../maps/filter'
import type { CellKeeper, Viewer } from '../maps/replica'
import type { AnyView } from '../maps/view'
import type { Entry } from '../wire'

/** Entries in a part of a snapshot. */
const PART = 500

export class PeerMap implements CellKeeper, FeedWatcher, Viewer, AnyView {
  readonly name: string
  readonly #dirty = new Set<string>()
  #isReplaced = false
  /** The subscription that has yet to be answered. */
  #asked: { id: number | undefined } | null
  #isScheduled = false

  constructor(
    private readonly feed: Feed,
    readonly filter: Filter,
    asked: { id: number | undefined },
    private readonly tell: (message: object) => void,
  ) {
    this.name = feed.replica.map
    this.#asked = asked
    feed.replica.taps.add(this)
    // Somebody looks: sums of counters are asked for.
    feed.replica.viewers.add(this)
    feed.watchers.add(this)
    feed.views.add(this)
    feed.wanted()
    if (feed.replica.isSynced) this.synced()
  }

  begin(): void {}

  touched(): void {}

  /** A cell of the leader's replica is another one. */
  cell(key: string): void {
    if (this.#asked || !passes(this.filter, key)) return
    this.#dirty.add(key)
    this.#schedule()
  }

  cursor(): void {}

  /** What it had counts no more. */
  replaced(): void {
    if (this.#asked) return
    this.#isReplaced = true
    this.#schedule()
  }

  /** The leader's replica is as the server has it. */
  synced(): void {
    const asked = this.#asked
    if (!asked) return
    this.#asked = null
    // Never only what has changed since: what is written through this connection moves no cursor.
    this.#all(asked.id)
  }

  failed(error: AnnulusError<string>): void {
    const { code, message } = error
    this.tell({ type: 'error', id: this.#asked?.id, map: this.name, code, message })
    this.close()
  }

  close(): void {
    this.feed.replica.taps.delete(this)
    this.feed.replica.viewers.delete(this)
    this.feed.watchers.delete(this)
    if (this.feed.views.delete(this) && this.feed.views.size === 0) this.feed.unsubscribe()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      if (!this.feed.watchers.has(this)) return
      const keys = [...this.#dirty]
      this.#dirty.clear()
      const isReplaced = this.#isReplaced
      this.#isReplaced = false
      if (isReplaced) this.#all(undefined)
      else
        this.tell({
          type: 'change',
          map: this.name,
          entries: keys.map(key => this.#entry(key)),
          cursor: this.feed.replica.cursor,
        })
    })
  }

  #all(id: number | undefined): void {
    const keys = [...this.feed.replica.base.keys()].filter(key => passes(this.filter, key))
    for (let i = 0; i === 0 || i < keys.length; i += PART) {
      const entries = keys.slice(i, i + PART).map(key => this.#entry(key))
      const end = i + PART >= keys.length ? this.#end() : { more: true }
      this.tell({ type: 'snapshot', id, map: this.name, entries, ...end })
    }
  }

  #end(): object {
    return { more: false, cursor: this.feed.replica.cursor, resumed: false, reset: true }
  }

  #entry(key: string): Entry {
    const { base, rules } = this.feed.replica
    // Whose write it was is between the leader and the server.
    const { own: _, ...entry } = rules.save(key, base.get(key)) as Entry & { own?: true }
    return entry as Entry
  }
}
