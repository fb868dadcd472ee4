// The connection of a tab that does not lead: a socket whose other end is the leader, which answers as the server does.

import type { Socket } from '../connection/socket'
import type { MapType } from '../wire'
import { newSocketName, type Port } from './port'

export class RelaySocket implements Socket {
  onopen: Socket['onopen'] = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null
  onerror: Socket['onerror'] = null
  readonly #name = newSocketName()
  readonly #unsubscribe: () => void

  constructor(
    private readonly port: Port,
    private readonly typeOf: (map: string) => MapType | undefined,
    section: string,
  ) {
    this.#unsubscribe = port.on(envelope => {
      if (envelope.to !== this.#name && envelope.kind !== 'leader') return
      if (envelope.kind === 'text') this.onmessage?.({ data: envelope.text } as never)
      else this.end(envelope.code ?? 1001, envelope.reason ?? 'retry_after_ms=0')
    })
    port.post({ from: this.#name, to: null, kind: 'open', section })
  }

  send(text: string): void {
    const { type, map } = JSON.parse(text) as { type: string; map?: string }
    const mapType = type === 'subscribe' && map !== undefined ? this.typeOf(map) : undefined
    this.port.post({ from: this.#name, to: null, kind: 'text', text, mapType })
  }

  close(): void {
    this.port.post({ from: this.#name, to: null, kind: 'close' })
    this.#unsubscribe()
  }

  /** The leader is another one, or has ended this. */
  end(code: number, reason: string): void {
    this.#unsubscribe()
    this.onclose?.({ code, reason } as never)
  }
}
