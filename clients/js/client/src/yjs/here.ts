// The awareness of a document (cursors, names) over a channel of its own, so that it takes no place among what was
// written. It is of the moment: without a connection nobody else is here.

import {
  type Awareness,
  applyAwarenessUpdate,
  encodeAwarenessUpdate,
  removeAwarenessStates,
} from 'y-protocols/awareness'
import type { Channel } from '../channel'
import { decode, encode } from './base64'

interface Said {
  from: string
  state: string
  /** It has just come, and asks who else is here. */
  asks?: true
}

/** What changes in between is told as one. */
const UPDATE_MS = 50

export class Here {
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #ends: (() => void)[]

  constructor(
    private readonly channel: Channel<Said>,
    private readonly awareness: Awareness,
    private readonly session: string,
  ) {
    const changed = (_: unknown, origin: unknown) => origin !== this && this.#due()
    awareness.on('update', changed)
    this.#ends = [() => awareness.off('update', changed), channel.on('message', ({ data }) => this.#heard(data))]
    channel.join()
  }

  connected(): void {
    this.#renew()
    this.#say({ asks: true })
  }

  interrupted(): void {
    const others = [...this.awareness.getStates().keys()].filter(client => client !== this.awareness.clientID)
    removeAwarenessStates(this.awareness, others, this)
  }

  end(): void {
    for (const end of this.#ends) end()
    clearTimeout(this.#timer)
    removeAwarenessStates(this.awareness, [this.awareness.clientID], this)
    this.#say()
    this.channel.leave()
  }

  #heard(said: Said): void {
    if (said?.from === this.session) return
    const update = decode(said?.state)
    if (!update) return
    try {
      applyAwarenessUpdate(this.awareness, update, this)
    } catch {
      // Whoever may publish here may publish what is no update.
    }
    if (said.asks) this.#renew()
  }

  /** Who has taken this one for gone believes only what is newer than what it knew. */
  #renew(): void {
    this.awareness.setLocalState(this.awareness.getLocalState())
  }

  #due(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#say()
    }, UPDATE_MS)
  }

  #say(more: Partial<Said> = {}): void {
    const state = encode(encodeAwarenessUpdate(this.awareness, [this.awareness.clientID]))
    // Without a connection there is nobody to tell.
    this.channel.publish({ from: this.session, state, ...more }).catch(() => undefined)
  }
}
