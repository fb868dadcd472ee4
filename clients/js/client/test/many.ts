// A map of many entries, as a server tells it: the texts of its messages, and a socket that says them. It is of no
// test runner, so that a page can have it, too.

import type { Annulus, LwwMap } from '../src'
import type { Socket } from '../src/connection/socket'

export const ENTRIES = 100_000

/** Entries in one message of a snapshot, about as many as the server puts there. */
const CHUNK = 200

export interface Item {
  title: string
  done: boolean
  priority: number
}

/** A socket that is the server, within this process. */
export class Loopback implements Socket {
  static last: Loopback | undefined
  onopen = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null
  onerror = null
  readonly sent: { id: number; type: string }[] = []

  constructor() {
    Loopback.last = this
    const limits = { message_bytes: 1 << 20 }
    const time = '1700000000000:0:n'
    const hello = { type: 'hello', node: 'n', time, auth: 'none', acks: [], heartbeat_ms: 20000, limits }
    setTimeout(() => this.say(JSON.stringify(hello)))
  }

  say(text: string): void {
    this.onmessage?.({ data: text } as never)
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text))
  }

  close(): void {}
}

export const keyOf = (i: number) => `item-${(i * 7919) % ENTRIES}`
export const itemOf = (i: number): Item => ({ title: `Item ${i}`, done: i % 3 === 0, priority: i % 10 })

/** The texts of a snapshot, as the server cuts it into chunks. */
export function snapshot(id: number, count = ENTRIES): string[] {
  const texts: string[] = []
  for (let i = 0; i < count; i += CHUNK) {
    const entries = Array.from({ length: CHUNK }, (_, n) => ({
      key: keyOf(i + n),
      value: itemOf(i + n),
      at: `${1700000000000 + ((i + n) % 5000)}:${n}:n-1f6b3a90`,
    }))
    const isLast = i + CHUNK >= count
    const end = isLast ? { more: false, cursor: 'c', resumed: false, reset: false } : { more: true }
    texts.push(JSON.stringify({ type: 'snapshot', id, map: 'items', entries, ...end }))
  }
  return texts
}

/** The texts of changes in a map of so many entries: a quarter is new, a quarter removed, the others have another value. */
export function changes(count: number, entries = ENTRIES): string[] {
  return Array.from({ length: count }, (_, i) => {
    const key = i % 4 === 0 ? `new-${i}` : keyOf((i * 31) % entries)
    const entry = i % 4 === 1 ? { key, deleted: true } : { key, value: itemOf(i * 3 + 1) }
    const told = [{ ...entry, at: `17000000${10000 + i}:0:n-1f6b3a90` }]
    return JSON.stringify({ type: 'change', map: 'items', entries: told, cursor: `c${i}` })
  })
}

/** A client that has asked for the map, and the texts that answer it. */
export async function asking(
  Client: typeof Annulus,
  count = ENTRIES,
): Promise<{ db: Annulus; items: LwwMap<Item>; texts: string[]; say(text: string): void }> {
  const db = new Client('ws://nowhere', { webSocket: Loopback })
  const items = db.map<Item>('items')
  Loopback.last = undefined
  const socket = await opened()
  const asked = socket.sent[0] as { id: number }
  return { db, items, texts: snapshot(asked.id, count), say: text => socket.say(text) }
}

async function opened(): Promise<Loopback> {
  for (;;) {
    const { last } = Loopback
    if (last?.sent[0]) return last
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
