// What this client needs of a WebSocket, and where one comes from.

import { AnnulusError } from '../errors'

/** The part of the standard `WebSocket` that is used. */
export interface Socket {
  onopen: ((event: never) => void) | null
  onmessage: ((event: { data: unknown } & never) => void) | null
  onclose: ((event: { code: number; reason: string } & never) => void) | null
  onerror: ((event: never) => void) | null
  send(text: string): void
  close(code?: number, reason?: string): void
}

/** A constructor like that of the standard `WebSocket`, such as the one of `ws`. */
// biome-ignore lint/suspicious/noExplicitAny: implementations differ in what else they have.
export type SocketConstructor = new (url: string, protocols?: string[]) => any

export type OpenSocket = (url: string, protocols: string[]) => Socket

/** Where a connection has its sockets from. */
export interface Sockets {
  open: OpenSocket
  /** Whether it is another tab's connection in the end, which has shown a token. */
  readonly isRelayed: boolean
}

export function socketFrom(given: SocketConstructor | undefined): OpenSocket {
  const Constructor = given ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket
  if (!Constructor) {
    throw new AnnulusError(
      'no_websocket',
      "there is no WebSocket here; on Node 20 install ws, and give { webSocket: (await import('ws')).WebSocket }",
    )
  }
  return (url, protocols) => new Constructor(url, protocols) as Socket
}
