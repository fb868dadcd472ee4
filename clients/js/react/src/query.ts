// Queries over a map. Components that ask the same of a map share one.

import type { QueryOptions } from 'annulus-client'
import type { Entries } from './maps'
import { type None, useSnapshot } from './snapshot'

/** What these hooks need of a query. */
export interface Queried<T> {
  readonly rows: Entries<T>
  subscribe(listener: () => void): () => void
  close(): void
}

/** A map that is queried here, or one that the server is asked about (`annulus-client/remote`). */
export interface Queryable<T> {
  query(options: QueryOptions<T>): Queried<T>
}

/** How long a query stays open for whoever comes back to it: a rendering that was begun, a component that moves. */
const LINGER_MS = 1_000

const NO_ROWS: Entries<never> = []

class SharedQuery<T> {
  #query: Queried<T> | null = null
  #users = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly map: Queryable<T>,
    private readonly options: QueryOptions<T>,
    private readonly forget: () => void,
  ) {}

  get rows(): Entries<T> {
    return this.#open().rows
  }

  subscribe(changed: () => void): () => void {
    this.#users += 1
    const end = this.#open().subscribe(changed)
    return () => {
      end()
      this.#users -= 1
      this.#lingers()
    }
  }

  #open(): Queried<T> {
    this.#query ??= this.map.query(this.options)
    this.#lingers()
    return this.#query
  }

  /** React may read a query and never subscribe, and does not say so. */
  #lingers(): void {
    clearTimeout(this.#timer)
    if (this.#users > 0) return
    this.#timer = setTimeout(() => {
      this.#query?.close()
      this.#query = null
      this.forget()
    }, LINGER_MS)
  }
}

const queries = new WeakMap<object, Map<string, SharedQuery<never>>>()

function shared<T>(map: Queryable<T>, options: QueryOptions<T>): SharedQuery<T> {
  let ofMap = queries.get(map) as Map<string, SharedQuery<T>> | undefined
  if (!ofMap) queries.set(map, (ofMap = new Map()) as unknown as Map<string, SharedQuery<never>>)
  const name = JSON.stringify(options)
  let query = ofMap.get(name)
  if (!query) {
    const all = ofMap
    ofMap.set(name, (query = new SharedQuery<T>(map, options, () => all.delete(name))))
  }
  return query
}

const follow = <T>(query: SharedQuery<T>, changed: () => void) => query.subscribe(changed)
const read = <T>(query: SharedQuery<T>) => query.rows

/** The rows that match, sorted. Changes that do not show in them are without this component. */
export function useQuery<T>(map: Queryable<T> | None, options: QueryOptions<T> = {}): Entries<T> {
  const query = map && typeof window !== 'undefined' ? shared(map, options) : null
  return useSnapshot(query, follow, read<T>, NO_ROWS)
}
