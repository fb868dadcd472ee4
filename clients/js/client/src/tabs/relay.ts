// The leader's side of the other tabs: answers them as the server does, out of its own replicas and by its own
// connection.

import type { Engine } from '../engine'
import type { Incoming } from '../wire'
import { Peer } from './peer'
import type { Envelope, Port } from './port'

/** Close codes of what ends all tabs, by the error that it is here. */
const CODES: { [code: string]: number } = { replaced: 4009, denied: 4003, auth_failed: 4002, auth_required: 4001 }

export class Relay {
  readonly #peers = new Map<string, Peer>()
  readonly #unsubscribes: (() => void)[]

  constructor(
    private readonly port: Port,
    private readonly engine: Engine,
    private readonly came: (section: string) => void,
  ) {
    const { connection } = engine
    this.#unsubscribes = [
      port.on(envelope => this.#received(envelope)),
      // Behind what the engine itself does on hello.
      connection.on('state', state => {
        if (state === 'open') for (const peer of this.#peers.values()) peer.hello()
        else if (state !== 'connecting') this.#ended()
      }),
      connection.on('message', message => this.#message(message)),
    ]
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribes) unsubscribe()
    for (const [name, peer] of this.#peers) this.#end(name, peer, 1001, 'retry_after_ms=0')
  }

  #received({ from, to, kind, section, text, mapType }: Envelope): void {
    if (to !== null || from === null) return
    if (kind === 'open') {
      const say = (text: string) => this.port.post({ from: null, to: from, kind: 'text', text })
      const peer = new Peer(this.engine, say)
      this.#peers.set(from, peer)
      if (section !== undefined) this.came(section)
      if (this.engine.connection.state === 'open') peer.hello()
      else if (this.engine.connection.state === 'closed') this.#ended()
    } else if (kind === 'close') {
      this.#peers.get(from)?.close()
      this.#peers.delete(from)
    } else if (kind === 'text') {
      this.#peers.get(from)?.handle(JSON.parse(text ?? '{}') as Incoming, mapType)
    }
  }

  /** What the server says by itself goes to whoever it is about. */
  #message(message: Incoming): void {
    for (const peer of this.#peers.values()) peer.pushed(message)
  }

  #ended(): void {
    const error = this.engine.connection.state === 'closed' ? this.engine.connection.error : null
    const code = error ? CODES[error.code] : undefined
    for (const [name, peer] of this.#peers) {
      if (code !== undefined) this.#end(name, peer, code, error?.message ?? '')
      // One that has not been greeted goes on waiting.
      else if (peer.isGreeted) this.#end(name, peer, 1001, 'retry_after_ms=0')
    }
  }

  #end(name: string, peer: Peer, code: number, reason: string): void {
    peer.close()
    this.#peers.delete(name)
    this.port.post({ from: null, to: name, kind: 'close', code, reason })
  }
}
