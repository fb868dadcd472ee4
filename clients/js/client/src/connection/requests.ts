// Requests that wait for their final answer, by their `id`.

import { AnnulusError } from '../errors'
import type { Incoming } from '../wire'

/** Called once, with the answer or with why there is none. Of a snapshot, also with the parts before the last. */
export type Answer = (error: AnnulusError<string> | null, message: Incoming | null) => void

export class Requests {
  #nextId = 1
  readonly #waiting = new Map<number, Answer>()

  /** The id under which `answer` will be called. */
  add(answer: Answer): number {
    const id = this.#nextId++
    this.#waiting.set(id, answer)
    return id
  }

  /** Whether the message was an answer to one of these. */
  answer(message: Incoming): boolean {
    const { id } = message
    const answer = id === undefined ? undefined : this.#waiting.get(id)
    if (id === undefined || !answer) return false
    if (message.type !== 'snapshot' || !message.more) this.#waiting.delete(id)
    if (message.type === 'error') answer(errorOf(message as never), null)
    else answer(null, message)
    return true
  }

  /** The connection is gone: none of them will be answered. */
  drop(): void {
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    const error = new AnnulusError('connection_lost', 'the connection ended before the answer')
    for (const answer of waiting) answer(error, null)
  }
}

export function errorOf(message: { code: string; message: string; retry_after_ms?: number }): AnnulusError<string> {
  return new AnnulusError<string>(message.code, message.message, { retryAfterMs: message.retry_after_ms })
}
