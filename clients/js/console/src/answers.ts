// What docs/admin.md says that the server answers.

export interface ServerAnswer {
  version: string
  node: string
  started_unix_ms: number
  unix_ms: number
  shards: number
  storage: 'disk' | 'memory'
  auth: string
  listen: string[]
  is_draining: boolean
  you: string
}

export type Values = Record<string, (number | null)[]>

export interface HistoryAnswer {
  interval_ms: number
  unix_ms: number[]
  sum: Values
  shards?: Values[]
}

export interface NowAnswer {
  unix_ms: number
  sum: Record<string, number | null>
  shards: Record<string, number | null>[]
}

/** A page of a list: the rows are under a name of their own. */
export interface Paged {
  looked_at: number
  next: string | null
}

export interface ClientRow {
  connection: string
  shard: number
  phase: 'handshake' | 'open' | 'leaving'
  user: string | null
  session: string | null
  roles: string[]
  address: string
  dialect: string | null
  connected_ms: number
  idle_ms: number
  received_bytes: number
  sent_bytes: number
  outbox_bytes: number
  subscriptions: number
  queries: number
  channels: number
  rooms: number
}

export interface ClientAnswer extends ClientRow {
  unix_ms: number
  waits: 'no' | 'in_line' | 'own_end' | 'rate'
  is_paused: boolean
  behind: number
  unread_bytes: number
  is_sending: boolean
  subscriptions_page: { map: string; filter: unknown; is_live: boolean }[]
  channels_page: string[]
  next: string | null
}

export type MapType = 'lww' | 'or' | 'counter'

export interface MapRow {
  map: string
  type: MapType | null
  keys: number
  cells: number
  bytes: number
  subscribers: number
  home: number
}

export interface MapAnswer extends MapRow {
  shards: {
    shard: number
    state: 'loaded' | 'loading' | 'unloaded' | 'untyped' | 'absent'
    type: MapType | null
    keys: number
    cells: number
    bytes: number
    subscribers: number
    feeds: number
  }[]
}

interface Applied {
  unix_ms: number
  logical: number
}

export interface KeyRow {
  key: string
  shard: number
  is_live: boolean
  bytes: number
  applied: Applied
  value: unknown
  is_cut: boolean
}

export interface LwwState {
  value: unknown
  stamp: string
  expires_unix_ms: number | null
}

export interface OrState {
  tags: { tag: string; value: unknown; stamp: string }[]
  live: number
  removed: { tag: string; removed: Applied }[]
  is_cut: boolean
}

export interface CounterState {
  value: string
  slots: { node: string; added: string; removed: string; applied: Applied }[]
  absorbed: string
  is_cut: boolean
}

export interface KeyAnswer {
  map: string
  key: string
  type: MapType
  shard: number
  is_live: boolean
  bytes: number
  applied: Applied
  state: LwwState | OrState | CounterState
  holders: { shard: number; subscribers: number }[]
}

export interface WriteAnswer {
  level: string
  applied: number
  timeout?: boolean
  rejected?: { index: number; code: string; message: string }[]
}

export interface RoomRow {
  room: string
  members: number
  away: number
  bytes: number
  home: number
}

export interface ChannelRow {
  channel: string
  members: number
  messages: number
  bytes: number
  first_offset: number | null
  last_offset: number | null
  epoch: string | null
  is_durable: boolean
  home: number
}

export interface UserRow {
  user: string
  connections: number
  home: number
}

export interface Member {
  member: string
  user: string | null
  connections: number
  state: unknown
  since: number
  away: boolean
}

export interface Said {
  offset: number
  from?: string
  data: unknown
  time: number
}

export interface ExplainAnswer {
  user: string | null
  action: string
  map: string
  outcome: string
  rules: { rule: number; says: string }[]
  note?: string
}

export interface StorageAnswer {
  storage: 'disk' | 'memory'
  data_dir: string
  is_read_only: boolean
  free_bytes: number | null
  short_bytes: number
  base_bytes: number
  journal_bytes: number
  segments: number
  unfolded_bytes: number
  write_rate_limit_bytes_per_second: number
  pending_bytes: number
  written_bytes: number
  groups: number
  checkpoints: number
  checkpoint_age_ms: number | null
  compactions: number
  folded_records: number
  loaded_bytes: number
  backups: number
  sync_p50_us: number | null
  sync_p99_us: number | null
  sync_p999_us: number | null
}

export interface BackupAnswer {
  is_running: boolean
  directory: string | null
  started_unix_ms: number | null
  ended_unix_ms: number | null
  progress: string | null
  report: string | null
  error: string | null
}

export interface CheckAnswer {
  is_running: boolean
  started_unix_ms: number | null
  ended_unix_ms: number | null
  looked_at: number
  /** `null`: nothing was checked yet. */
  violations: number | null
  problems: string[]
  error?: string | null
}

export interface LogLine {
  number: number
  unix_ms: number
  level: string
  target: string
  message: string
}

export interface LogAnswer {
  lines: LogLine[]
  next: number
  lost: number
}

export interface Setting {
  name: string
  value: unknown
  source: 'default' | 'flag' | 'variable' | 'file' | 'changed'
  is_hot: boolean
  was: unknown
}

export interface DrainAnswer {
  phase: 'serving' | 'countdown' | 'lead' | 'closing'
  left_ms: number | null
  connections: number
}
