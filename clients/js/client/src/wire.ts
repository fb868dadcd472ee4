// The messages of docs/protocol.md, as far as this client reads them. What it does not know it ignores.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

export type MapType = 'lww' | 'or' | 'counter'
export type AckLevel = 'memory' | 'durable'

export interface Hello {
  type: 'hello'
  connection: string
  node: string
  time: string
  auth: 'none' | 'optional' | 'required'
  acks: string[]
  heartbeat_ms: number
  tombstone_retention_ms?: number
  features?: string[]
  limits: { message_bytes: number }
}

export interface WireError {
  code: string
  message: string
  retry_after_ms?: number
}

export type LwwEntry = { key: string; at: string; value?: unknown; deleted?: true; expires_at?: number }
export type OrEntry = { key: string; values?: { tag: string; value: unknown; at: string }[]; removed?: string[] }
export type CounterEntry = { key: string; count?: number; deleted?: true }
export type Entry = LwwEntry | OrEntry | CounterEntry

export interface Snapshot {
  type: 'snapshot'
  id?: number
  map: string
  entries: Entry[]
  more: boolean
  cursor?: string
  resumed?: boolean
  reset?: boolean
  map_type?: MapType
}

export interface ChangeMessage {
  type: 'change'
  map: string
  entries: Entry[]
  cursor: string
}

export interface Ack {
  type: 'ack'
  id: number
  level: string
  timeout?: boolean
  rejected?: (WireError & { index: number })[]
}

/** One operation of a `write`. Every one of them may be sent twice. */
export type Operation =
  | { map: string; key: string; op: 'set'; value: unknown; at: string; ttl_ms?: number }
  | { map: string; key: string; op: 'delete'; at: string }
  | { map: string; key: string; op: 'add'; value: unknown; tag: string; at: string }
  | { map: string; key: string; op: 'remove'; tags: string[] }
  | { map: string; key: string; op: 'increment'; replica: string; added: number; subtracted: number }

export interface WireMember<S> {
  member: string
  user: string | null
  connections: number
  state: S
  since: number
  away: boolean
}

export interface WireMessage {
  offset: number
  from?: string
  data: unknown
  time: number
}

/** A message from the server before anything but its `type` and `id` was looked at. */
// biome-ignore lint/suspicious/noExplicitAny: each reader knows the fields of its own messages.
export type Incoming = { type: string; id?: number } & Record<string, any>
