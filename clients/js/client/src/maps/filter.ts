// Which keys of a map somebody wants. A connection has one subscription for each map, so what all want is joined.

export type Filter = { keys: readonly string[] } | { prefix: string }

export const ALL: Filter = { prefix: '' }

/** Which keys of a map: all, those that begin so, or these. */
export interface Selection {
  prefix?: string
  keys?: readonly string[]
}

export function filterOf({ prefix, keys }: Selection): Filter {
  if (prefix !== undefined && keys !== undefined) throw new TypeError('either a prefix or keys')
  return keys ? { keys: [...keys] } : { prefix: prefix ?? '' }
}

export function passes(filter: Filter, key: string): boolean {
  return 'keys' in filter ? filter.keys.includes(key) : key.startsWith(filter.prefix)
}

/** One filter that passes whatever any of these does: their keys, or what all their prefixes begin with. */
export function join(filters: readonly Filter[]): Filter {
  if (filters.every(filter => 'keys' in filter)) {
    const keys = [...new Set(filters.flatMap(filter => ('keys' in filter ? filter.keys : [])))]
    if (keys.length > 0 && keys.length <= 1000) return { keys: keys.sort() }
  }
  const texts = filters.flatMap(filter => ('keys' in filter ? filter.keys : [filter.prefix]))
  let prefix = texts[0] ?? ''
  for (const text of texts) while (!text.startsWith(prefix)) prefix = prefix.slice(0, -1)
  // Half of a surrogate pair is no text.
  return { prefix: /[\ud800-\udbff]$/.test(prefix) ? prefix.slice(0, -1) : prefix }
}

/** Names a filter, so that a cursor is used with the one that it came with. */
export function nameOf(filter: Filter): string {
  return JSON.stringify('keys' in filter ? filter.keys : filter.prefix)
}

/** The fields of a `subscribe`. */
export function fieldsOf(filter: Filter): object {
  if ('keys' in filter) return { keys: filter.keys }
  return filter.prefix === '' ? {} : { prefix: filter.prefix }
}
