// A server that says what a test tells it to, for what the real one says only in bad times.

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'

export class Peer {
  readonly #server: WebSocketServer
  /** When each connection came, with the subprotocols that it offered. */
  readonly came: { at: number; protocols: string }[] = []
  readonly received: { type: string; id: number; [field: string]: unknown }[] = []
  socket: WebSocket | undefined
  /** What is done with each connection that comes. */
  greet: (socket: WebSocket) => void = () => this.hello()

  constructor(server: WebSocketServer) {
    this.#server = server
    server.on('connection', (socket, request) => {
      this.socket = socket
      this.came.push({ at: Date.now(), protocols: String(request.headers['sec-websocket-protocol']) })
      socket.on('message', data => {
        const message = JSON.parse(String(data))
        this.received.push(message)
        if (message.type === 'ping' && this.answersPings)
          this.say({ type: 'pong', id: message.id, time: `${Date.now()}:0:n` })
      })
      this.greet(socket)
    })
  }

  answersPings = true

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  say(message: object): void {
    this.socket?.send(JSON.stringify(message))
  }

  hello(fields: object = {}): void {
    const limits = { message_bytes: 1 << 20 }
    const time = `${Date.now()}:0:n`
    this.say({
      type: 'hello',
      protocol: 1,
      node: 'n',
      time,
      auth: 'none',
      acks: ['memory'],
      heartbeat_ms: 20000,
      limits,
      ...fields,
    })
  }
}

export async function startPeer(): Promise<Peer> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'annulus.v1' })
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  return new Peer(server)
}
