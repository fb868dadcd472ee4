// Writes that the server has yet to acknowledge, in the order in which they were made.
//
// They are sent in `write`s of many, several of which may be under way, and all of them again on the next connection,
// in the same order: every operation may be carried out twice. What is rejected for a reason that passes is sent again.

import type { Connection } from './connection/connection'
import { errorOf } from './connection/requests'
import { passes, RETRY_MS } from './connection/retry'
import { AnnulusError } from './errors'
import type { Pending, Replica } from './maps/replica'
import type { Ack, AckLevel, Incoming, Operation, WireError } from './wire'

export interface Write extends Pending {
  /** Where it is among all writes. */
  seq: number
  ack: AckLevel
  replica: Replica
  /** Of another tab, which keeps it and is told what has become of it. */
  isRelayed?: boolean
  /** Takes back what was done here beside the replica. */
  undo: (() => void) | undefined
  resolve(): void
  reject(error: AnnulusError<string>): void
}

export interface OutboxHost {
  readonly connection: Connection
  messageBytes(): number
  /** The server has taken it. */
  taken(write: Write): void
  /** The server has refused it. */
  rejected(write: Write, error: AnnulusError<string>): void
  /** Its stamp is too far ahead: gives it another one. */
  restamp(writes: Write[]): Promise<void>
}

/** Operations in one message: the protocol allows 1000, and fewer let acks come sooner. */
const OPS_MAX = 500
/** Messages under way. */
const MESSAGES_MAX = 8
/** What a message has around its operations. */
const ENVELOPE_BYTES = 256
/** What else passes where something is written. */
const WRITE_PASSES = new Set(['read_only', 'auth_required', 'cancelled'])

export class Outbox {
  /** To send, in order. */
  #waiting: Write[] = []
  readonly #underWay = new Set<Write[]>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #isScheduled = false

  constructor(private readonly host: OutboxHost) {}

  get size(): number {
    let size = this.#waiting.length
    for (const writes of this.#underWay) size += writes.length
    return size
  }

  *writes(): Iterable<Write> {
    for (const writes of this.#underWay) yield* writes
    yield* this.#waiting
  }

  /** Whether something is written to a map that the server has yet to take. */
  has(map: string): boolean {
    for (const { op } of this.writes()) if (op.map === map) return true
    return false
  }

  add(write: Write): void {
    this.#waiting.push(write)
    this.flush()
  }

  /** Sends what waits, together with what else is written in this turn. */
  flush(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#send()
    })
  }

  /** The connection is gone, and with it what was under way. */
  interrupted(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const again = [...this.#underWay].flat()
    this.#underWay.clear()
    this.#again(again)
  }

  /** There will be no connection, unless somebody asks for one: whoever waits is told, and writes stay. */
  close(error: AnnulusError<string>): void {
    for (const write of this.writes()) write.reject(error)
  }

  #send(): void {
    const { connection } = this.host
    while (
      connection.state === 'open' &&
      this.#timer === undefined &&
      this.#underWay.size < MESSAGES_MAX &&
      this.#waiting.length > 0
    ) {
      const writes = this.#take()
      if (writes.length === 0) continue
      this.#underWay.add(writes)
      const ops = writes.map(({ op }) => op)
      connection.ask({ type: 'write', ack: (writes[0] as Write).ack, ops }, (error, message) => {
        // What was under way when the connection ended is sent again by `interrupted`.
        if (!this.#underWay.has(writes) || error?.code === 'connection_lost') return
        this.#underWay.delete(writes)
        this.#answered(writes, error, message)
        this.flush()
      })
    }
  }

  /** The next of one level that fit into a message. What fits into none is rejected. */
  #take(): Write[] {
    const room = this.host.messageBytes() - ENVELOPE_BYTES
    const ack = this.#waiting[0]?.ack
    let bytes = 0
    let count = 0
    for (const write of this.#waiting) {
      const own = bytesOf(write.op)
      if (own > room && count === 0) {
        this.#waiting.shift()
        this.host.rejected(write, new AnnulusError('too_large', `${own} bytes are more than a message may have`))
        return []
      }
      if (write.ack !== ack || count === OPS_MAX || bytes + own > room) break
      bytes += own
      count += 1
    }
    return this.#waiting.splice(0, count)
  }

  #answered(writes: Write[], error: AnnulusError<string> | null, message: Incoming | null): void {
    const rejected = new Map<number, WireError>()
    if (error) {
      const refused: WireError = { code: error.code, message: error.message }
      if (error.retryAfterMs !== undefined) refused.retry_after_ms = error.retryAfterMs
      writes.forEach((_, index) => void rejected.set(index, refused))
    }
    for (const one of (message as Ack | null)?.rejected ?? []) rejected.set(one.index, one)
    // A level that was not reached in time may be reached later, or never: it is asked for again.
    const isLate = message?.timeout === true && writes[0]?.ack === 'durable'

    const again: Write[] = []
    const drifted: Write[] = []
    let waitMs = isLate ? RETRY_MS : 0
    writes.forEach((write, index) => {
      const refused = rejected.get(index)
      if (!refused) {
        if (isLate) again.push(write)
        else this.host.taken(write)
      } else if (passes(refused.code) || WRITE_PASSES.has(refused.code)) {
        again.push(write)
        waitMs = Math.max(waitMs, refused.retry_after_ms ?? RETRY_MS)
      } else if (refused.code === 'clock_drift' && !write.isRelayed) {
        drifted.push(write)
      } else {
        this.host.rejected(write, errorOf(refused))
      }
    })
    this.#again(again)
    if (again.length > 0) this.#pause(waitMs)
    if (drifted.length > 0) {
      void this.host.restamp(drifted).then(() => {
        this.#again(drifted)
        this.flush()
      })
    }
  }

  #again(writes: Write[]): void {
    if (writes.length > 0) this.#waiting = [...writes, ...this.#waiting].sort((a, b) => a.seq - b.seq)
  }

  #pause(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.flush()
    }, ms)
  }
}

const encoder = new TextEncoder()

function bytesOf(op: Operation): number {
  return encoder.encode(JSON.stringify(op)).length + 1
}
