// How tabs of one origin speak to each other: everybody hears everything, and looks at what is for it.

import { randomName } from '../clock'
import type { MapType } from '../wire'

export interface Envelope {
  /** The socket of a follower that sends it; of the leader there is one. */
  from: string | null
  /** The socket that it is for; `null`: whoever leads. */
  to: string | null
  kind: 'open' | 'text' | 'close' | 'leader'
  /** Of an `open`: what of the store is the follower's. */
  section?: string
  text?: string
  /** Of a text that subscribes to a map: the type under which it is used. */
  mapType?: MapType | undefined
  code?: number
  reason?: string
}

export class Port {
  readonly #channel: BroadcastChannel
  readonly #listeners = new Set<(envelope: Envelope) => void>()

  constructor(name: string) {
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = ({ data }) => {
      for (const listener of [...this.#listeners]) listener(data as Envelope)
    }
  }

  on(listener: (envelope: Envelope) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  post(envelope: Envelope): void {
    this.#channel.postMessage(envelope)
  }

  close(): void {
    this.#listeners.clear()
    this.#channel.close()
  }
}

export const newSocketName = randomName
