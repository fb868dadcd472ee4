// The replicas of a client and their subscriptions: one for each map and connection, as wide as its views want.

import type { Connection } from './connection/connection'
import { passes, RETRY_MS } from './connection/retry'
import type { AnnulusError } from './errors'
import { type Filter, fieldsOf, join, nameOf } from './maps/filter'
import type { Replica } from './maps/replica'
import type { AnyView } from './maps/view'
import type { ChangeMessage, Entry, Incoming, Snapshot } from './wire'

export interface FeedHost {
  readonly connection: Connection
  /** Runs it so that listeners are told once. */
  batch(work: () => void): void
  /** Entries have come, whose stamps the clock has to pass. */
  observe(replica: Replica, entries: Entry[]): void
  /** The map is as the server has it. */
  synced(feed: Feed): void
  failed(map: string, error: AnnulusError<string>): void
}

/** What was kept of a map. */
export interface Kept {
  entries: Entry[]
  /** What the cursor is for (`nameOf`). */
  filter: string
  cursor: string | null
}

/** Who waits for the map to be as the server has it. */
export interface FeedWatcher {
  synced(): void
  failed(error: AnnulusError<string>): void
}

export class Feed {
  /** Those that show the map. */
  readonly views = new Set<AnyView>()
  readonly watchers = new Set<FeedWatcher>()
  /** What the cursor is for. */
  filterName: string | null = null
  /** Whether what was kept of the map is in the replica, if anything was. */
  isReady = true
  /** The subscription that is asked for or under way; answers to others are old. */
  #current: object | null = null

  constructor(
    readonly replica: Replica,
    private readonly host: FeedHost,
  ) {}

  get filter(): Filter {
    return join([...this.views].map(view => view.filter))
  }

  /** Somebody wants to see the map: asks for it, unless what is asked for is as wide. */
  wanted(): void {
    if (this.#current && nameOf(this.filter) === this.filterName) return
    this.subscribe()
  }

  subscribe(): void {
    const { connection } = this.host
    if (connection.state !== 'open' || this.views.size === 0 || !this.isReady) return
    const { filter, replica } = this
    const name = nameOf(filter)
    if (name !== this.filterName) {
      replica.interrupted()
      replica.cursor = null
      this.filterName = name
    }
    const since = replica.cursor
    const current = {}
    this.#current = current
    const message = { type: 'subscribe', map: replica.map, ...fieldsOf(filter), ...(since === null ? {} : { since }) }
    connection.ask(message, (error, part) => {
      if (this.#current !== current) return
      if (part) this.snapshot(part as unknown as Snapshot, since === null)
      else if (error) this.#failed(error)
    })
  }

  /** Takes what was kept of another time, or, in place of all there is, by another tab. */
  restore(kept: Kept, isOther: boolean): void {
    const { entries, filter, cursor } = kept
    this.filterName = filter
    this.host.batch(() => (isOther ? this.replica.takeOver(entries, cursor) : this.replica.restore(entries, cursor)))
  }

  /** Nobody wants to see it any more. */
  unsubscribe(): void {
    this.#current = null
    this.replica.interrupted()
    this.host.connection.ask({ type: 'unsubscribe', map: this.replica.map }, () => undefined)
  }

  /** The connection is gone. */
  interrupted(): void {
    this.#current = null
    this.replica.interrupted()
  }

  snapshot(part: Snapshot, isWhole: boolean): void {
    this.host.batch(() => {
      this.host.observe(this.replica, part.entries)
      this.replica.snapshot(part, isWhole)
    })
    if (part.more) return
    this.host.synced(this)
    for (const watcher of [...this.watchers]) watcher.synced()
  }

  change(message: ChangeMessage): void {
    this.host.batch(() => {
      this.host.observe(this.replica, message.entries)
      this.replica.change(message.entries, message.cursor)
    })
  }

  /** Messages about the map that answer nothing: changes, snapshots that take the place of all, what is shown first. */
  message(message: Incoming): void {
    if (this.views.size === 0) return
    if (message.type === 'change') this.change(message as unknown as ChangeMessage)
    else if (message.type === 'snapshot') this.snapshot(message as unknown as Snapshot, message.reset === true)
    else if (message.type === 'entries') this.host.batch(() => this.replica.told(message.entries))
    else if (message.type === 'error') this.#failed(message as never)
  }

  #failed(error: AnnulusError<string>): void {
    const failed = this.#current
    if (error.code === 'cancelled' || error.code === 'connection_lost') return
    if (passes(error.code)) {
      this.replica.interrupted()
      setTimeout(() => this.#current === failed && this.subscribe(), error.retryAfterMs ?? RETRY_MS)
      return
    }
    this.#current = null
    this.replica.interrupted()
    // What may not be seen is not shown, either.
    if (error.code === 'forbidden') this.host.batch(() => this.replica.clear())
    for (const watcher of [...this.watchers]) watcher.failed(error)
    this.host.failed(this.replica.map, error)
  }
}
