// Writes to maps of values, as operations.

import { plain } from '../canonical'
import type { MapHost, WriteOptions } from './map'
import type { Replica } from './replica'

export type SetOptions = WriteOptions & {
  /** It ends by itself so long after now. */
  ttlMs?: number
}

export function writeSet(
  host: MapHost,
  replica: Replica,
  key: string,
  value: unknown,
  options?: SetOptions,
): Promise<void> {
  const ttl = options?.ttlMs === undefined ? {} : { ttl_ms: options.ttlMs }
  const op = { map: replica.map, key, op: 'set' as const, value: plain(value), ...ttl }
  return host.write(replica, () => ({ ...op, at: host.stamp() }), options)
}

export function writeDelete(host: MapHost, replica: Replica, key: string, options?: WriteOptions): Promise<void> {
  const op = { map: replica.map, key, op: 'delete' as const }
  return host.write(replica, () => ({ ...op, at: host.stamp() }), options)
}
