// The client: what an application opens, and where it finds everything else.

import { Annulus as Core, type MapOptions, type Options } from './core'
import { type DirectEvents, Directs, Recipient, User } from './directs'
import type { Emitter } from './emitter'
import { CounterMap } from './maps/countermap'
import { Counting } from './maps/counting'
import type { Selection } from './maps/filter'
import { orRules } from './maps/or'
import { SetMap } from './maps/set'
import { LwwMap } from './query/map'
import type { Incoming, Json } from './wire'

export class Annulus extends Core {
  readonly #directs: Directs

  /** `url`: such as `wss://sync.example/v1`. */
  constructor(url: string, options: Options = {}) {
    super(url, options, { or: orRules as never, Counting })
    this.#directs = new Directs(this.engine.connection, this as unknown as Emitter<DirectEvents>)
  }

  /** Values by key, of which the last that was written stays. The same object for the same name and keys. */
  override map<T = Json>(name: string, options: MapOptions<T> = {}): LwwMap<T> {
    return this.view(name, 'lww', options, (filter, feed) => {
      return new LwwMap<T>(name, filter, feed.replica, this.engine, options.parse)
    })
  }

  /** Sets of values by key. */
  set<T = Json>(name: string, selection: Selection = {}): SetMap<T> {
    return this.view(name, 'or', selection, (filter, feed) => {
      return new SetMap<T>(name, filter, feed.replica, this.engine)
    })
  }

  /** Numbers by key that everybody adds to. */
  counter(name: string, selection: Selection = {}): CounterMap {
    return this.view(name, 'counter', selection, (filter, feed) => {
      const ledger = (this.engine.counting as Counting).ledger(name)
      return new CounterMap(name, filter, feed.replica, this.engine, ledger)
    })
  }

  /** Messages to one user, kept while it is away. Those for this user come by `on('direct', …)`. */
  user(name: string): User {
    return new User(name, this.#directs)
  }

  /** Messages to all who are there and have a role. */
  role(name: string): Recipient {
    return new Recipient(`role:${name}`, this.#directs)
  }

  /** Messages to all users who are there. */
  everyone(): Recipient {
    return new Recipient('all', this.#directs)
  }

  /** @internal */
  protected override message(message: Incoming): void {
    if (message.type === 'direct' || message.type === 'queue.dropped') this.#directs.message(message)
    else super.message(message)
  }
}
