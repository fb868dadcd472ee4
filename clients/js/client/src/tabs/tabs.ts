// Tabs of one origin that share a store: one of them, the leader, has the connection and keeps replicas; the others
// speak to it as if it were the server. When it is gone, whatever ended it, another one takes its place.
//
// Each tab has a section of the store for its own outbox and slots, and a lock on it while it lives. The leader waits
// for the locks of the others, and takes over what a tab leaves behind.

import type { OpenSocket, Socket } from '../connection/socket'
import type { Engine } from '../engine'
import type { Lasting } from '../lasting'
import { Locks } from './locks'
import { Port } from './port'
import { Relay } from './relay'
import { RelaySocket } from './relaysocket'

export class Tabs {
  readonly #locks = new Locks()
  readonly #port: Port
  #relay: Relay | null = null
  #socket: RelaySocket | null = null
  #section = ''
  readonly #awaited = new Set<string>()
  #isClosed = false

  static arePossible(): boolean {
    return Locks.arePossible()
  }

  constructor(
    private readonly name: string,
    private readonly real: OpenSocket,
    private readonly engine: Engine,
    private readonly lasting: Lasting,
  ) {
    this.#port = new Port(name)
  }

  get isLeader(): boolean {
    return this.#relay !== null
  }

  /** Finds out who leads, and resolves with the section that is this tab's. */
  async begin(): Promise<string> {
    for (let i = 0; this.#section === ''; i++) {
      if (await this.#locks.take(this.#lockOf(`s${i}`), false)) this.#section = `s${i}`
    }
    if (await this.#locks.take(`${this.name}:leader`, false)) this.#lead()
    else void this.#wait()
    return this.#section
  }

  open: OpenSocket = (url, protocols): Socket => {
    if (this.#relay) return this.real(url, protocols)
    const socket = new RelaySocket(this.#port, map => this.engine.typeOf(map), this.#section)
    this.#socket = socket
    return socket
  }

  /** Takes over what a tab leaves behind, once it is gone. */
  adopt(section: string): void {
    if (section === this.#section || this.#awaited.has(section)) return
    this.#awaited.add(section)
    void this.#locks.take(this.#lockOf(section), true).then(async () => {
      if (!this.#isClosed) await this.lasting.adopt(section)
      this.#awaited.delete(section)
      this.#locks.release(this.#lockOf(section))
    })
  }

  close(): void {
    this.#isClosed = true
    this.#relay?.close()
    this.#port.close()
    this.#locks.close()
  }

  async #wait(): Promise<void> {
    await this.#locks.take(`${this.name}:leader`, true)
    if (this.#isClosed) {
      this.#locks.close()
      return
    }
    this.#lead()
    this.lasting.promoted()
    // What it has of a connection was the other leader's.
    this.#socket?.end(1001, 'retry_after_ms=0')
  }

  #lead(): void {
    this.#relay = new Relay(this.#port, this.engine, section => this.adopt(section))
    this.#port.post({ from: null, to: null, kind: 'leader' })
  }

  #lockOf(section: string): string {
    return `${this.name}:${section}`
  }
}
