// Snapshots for `useSyncExternalStore`: React takes a store for changed when it gives another object.

import { useSyncExternalStore } from 'react'

export type None = null | undefined

const nothing = () => () => undefined

/**
 * What `read` finds in `source`, read again when `subscribe` calls. `none` is there on servers, where there is no
 * source, and in the first rendering in a browser, which has to be what the server has made.
 */
export function useSnapshot<S extends object, R>(
  source: S | None,
  subscribe: (source: S, changed: () => void) => () => void,
  read: (source: S) => R,
  none: R,
): R {
  return useSyncExternalStore(
    // Another function is another subscription, so there is one for each source.
    source ? subscriptionOf(source, subscribe) : nothing,
    () => (source ? read(source) : none),
    () => none,
  )
}

type Subscription = (changed: () => void) => () => void

const subscriptions = new WeakMap<object, Map<unknown, Subscription>>()

function subscriptionOf<S extends object>(
  source: S,
  subscribe: (source: S, changed: () => void) => () => void,
): Subscription {
  let own = subscriptions.get(source)
  if (!own) subscriptions.set(source, (own = new Map()))
  let known = own.get(subscribe)
  if (!known) own.set(subscribe, (known = changed => subscribe(source, changed)))
  return known
}

/** Remembers of each source the last fields, so that they are the same object for as long as each of them is the same. */
export function fieldsOf<S extends object, F extends object>(read: (source: S) => F): (source: S) => F {
  const last = new WeakMap<S, F>()
  return source => {
    const fields = read(source)
    const known = last.get(source)
    const isSame = known && (Object.keys(fields) as (keyof F)[]).every(name => known[name] === fields[name])
    if (isSame) return known
    last.set(source, fields)
    return fields
  }
}
