// Maps, sets and counters: all of their keys, or one.

import { useCallback, useSyncExternalStore } from 'react'
import { type None, useSnapshot } from './snapshot'

/** What these hooks need of a map, a set or a counter. */
export interface Viewed<V> {
  readonly version: number
  get(key: string): V | undefined
  entries(): IterableIterator<[key: string, value: V]>
  subscribe(listener: () => void): () => void
  subscribe(key: string, listener: () => void): () => void
}

export type Entries<V> = readonly (readonly [key: string, value: V])[]

const NO_ENTRIES: Entries<never> = []

const lists = new WeakMap<object, { version: number; entries: Entries<unknown> }>()

function entriesOf<V>(view: Viewed<V>): Entries<V> {
  let list = lists.get(view)
  if (list?.version !== view.version) {
    list = { version: view.version, entries: [...view.entries()] }
    lists.set(view, list)
  }
  return list.entries as Entries<V>
}

const follow = <V>(view: Viewed<V>, changed: () => void) => view.subscribe(() => changed())

/** All keys with their values, in the order of the keys. A value that has not changed is the same object. */
export function useMap<V>(map: Viewed<V> | None): Entries<V> {
  return useSnapshot(map, follow, entriesOf<V>, NO_ENTRIES)
}

/** The value of one key. Other keys change without this component. */
export function useKey<V>(map: Viewed<V> | None, key: string): V | undefined {
  const subscribe = useCallback(
    (changed: () => void) => (map ? map.subscribe(key, () => changed()) : () => undefined),
    [map, key],
  )
  return useSyncExternalStore(
    subscribe,
    () => map?.get(key),
    () => undefined,
  )
}
