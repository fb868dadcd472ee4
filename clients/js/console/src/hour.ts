// The last hour, second by second, as far as this tab has asked for it.

import type { HistoryAnswer, Values } from './answers'
import { read } from './api'

const SECONDS = 3600

export class Hour {
  readonly unixMs: number[] = []
  sum: Values = {}
  /** Of each shard, where they are kept. */
  shards: Values[] = []
  /** The last second of each shard. */
  latest: Record<string, number | null>[] = []

  constructor(readonly hasShards = false) {}

  /** Asks for what is not here yet; whether anything was. */
  async update(signal: AbortSignal): Promise<boolean> {
    const after = this.unixMs.at(-1)
    const shards = this.hasShards || after !== undefined
    const answer = await read<HistoryAnswer>('/admin/history', { after, limit: SECONDS, shards }, signal)
    if (answer.unix_ms.length === 0) return false
    // Who asks meanwhile is told the same seconds.
    const last = this.unixMs.at(-1) ?? 0
    for (const [row, at] of answer.unix_ms.entries()) if (at > last) this.#append(answer, at, row)
    if (answer.shards) this.latest = answer.shards.map(values => lastOf(values))
    this.#trim()
    return true
  }

  #append(answer: HistoryAnswer, at: number, row: number): void {
    const last = this.unixMs.at(-1)
    // Seconds that are missing are a gap in a line, not a bridge.
    if (last !== undefined && at - last > 2.5 * answer.interval_ms) this.#row(last + answer.interval_ms, answer, null)
    this.#row(at, answer, row)
  }

  #row(at: number, answer: HistoryAnswer, row: number | null): void {
    const length = this.unixMs.push(at)
    const extend = (kept: Values, given: Values) => {
      for (const [name, values] of Object.entries(given)) {
        kept[name] ??= new Array<null>(length - 1).fill(null)
        kept[name].push(row === null ? null : (values[row] ?? null))
      }
    }
    extend(this.sum, answer.sum)
    if (!this.hasShards) return
    answer.shards?.forEach((given, shard) => {
      this.shards[shard] ??= {}
      extend(this.shards[shard], given)
    })
  }

  #trim(): void {
    const over = this.unixMs.length - SECONDS
    // Not each second, as all is moved for it.
    if (over < 60) return
    const columns = [this.sum, ...this.shards].flatMap(values => Object.values(values))
    for (const column of [this.unixMs, ...columns]) column.splice(0, over)
  }
}

function lastOf(values: Values): Record<string, number | null> {
  return Object.fromEntries(Object.entries(values).map(([name, column]) => [name, column.at(-1) ?? null]))
}
