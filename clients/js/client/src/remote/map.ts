// A map that stays on the server: what is asked of it comes here, and nothing else.

import type { Annulus, MapOptions } from '../core'
import type { Engine } from '../engine'
import { type Filter, filterOf, nameOf } from '../maps/filter'
import type { WriteOptions } from '../maps/map'
import type { Replica } from '../maps/replica'
import { type SetOptions, writeDelete, writeSet } from '../maps/writes'
import type { QueryOptions } from '../query/query'
import type { Json } from '../wire'
import { RemoteQuery } from './query'

export class RemoteMap<T = Json> {
  constructor(
    readonly name: string,
    private readonly filter: Filter,
    private readonly engine: Engine,
    private readonly parse: ((value: unknown) => T) | undefined,
  ) {}

  /** The rows that match, sorted, which the server keeps so. Close it when it is not needed any more. */
  query(options: QueryOptions<T> = {}): RemoteQuery<T> {
    return new RemoteQuery(this.name, options, this.filter, this.engine, this.parse)
  }

  /** Sets a value. It is sent as any write is, also later, and queries show it once the server does. */
  set(key: string, value: T, options?: SetOptions): Promise<void> {
    return writeSet(this.engine, this.#replica, key, value, options)
  }

  delete(key: string, options?: WriteOptions): Promise<void> {
    return writeDelete(this.engine, this.#replica, key, options)
  }

  /** Of what is written here until the server has it; nobody asks for the rest. */
  get #replica(): Replica {
    return this.engine.feed(this.name, 'lww').replica
  }
}

const maps = new WeakMap<Engine, Map<string, RemoteMap<never>>>()

/** The map of this name on the server of `db`. The same object for the same name and keys. */
export function remoteMap<T = Json>(db: Annulus, name: string, options: MapOptions<T> = {}): RemoteMap<T> {
  const { engine } = db
  let own = maps.get(engine)
  if (!own) maps.set(engine, (own = new Map()))
  const filter = filterOf(options)
  const id = JSON.stringify([name, nameOf(filter)])
  let map = own.get(id) as RemoteMap<T> | undefined
  if (!map) own.set(id, (map = new RemoteMap<T>(name, filter, engine, options.parse)) as unknown as RemoteMap<never>)
  return map
}
