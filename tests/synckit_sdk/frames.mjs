// A client that speaks as SDK 0.3.0 does. Not every copy of npm's registry has that, so its frames are made here.

import { once } from 'node:events'

import { WebSocket } from 'ws'

import { eventually } from './client.mjs'

export const CODES = {
  subscribe: 0x10,
  syncResponse: 0x13,
  delta: 0x20,
  ack: 0x21,
  awarenessUpdate: 0x40,
  awarenessSubscribe: 0x41,
  awarenessState: 0x42,
  deltaBatch: 0x50,
}

/// A frame is a code, eight bytes of time, four of length, and JSON.
const HEAD_BYTES = 13

/// Connected and subscribed to the document with this id, as `SyncKit.document` does it; closed with the test `t`.
export async function connectFrames(t, server, clientId, documentId) {
  const socket = new WebSocket(server.url)
  t.after(() => socket.terminate())
  const client = new Frames(socket, clientId, documentId)
  await once(socket, 'open')
  client.send(CODES.subscribe, {})
  client.send(CODES.awarenessSubscribe, {})
  await client.hears(CODES.syncResponse, {})
  await client.hears(CODES.awarenessState, {})
  return client
}

class Frames {
  /// Every payload that came, by its code.
  heard = new Map()
  writes = 0

  constructor(socket, clientId, documentId) {
    Object.assign(this, { socket, clientId, documentId })
    socket.on('message', data => {
      const payload = JSON.parse(data.subarray(HEAD_BYTES, HEAD_BYTES + data.readUInt32BE(9)))
      this.heard.set(data[0], [...this.all(data[0]), payload])
    })
  }

  send(code, payload) {
    const json = Buffer.from(JSON.stringify({ documentId: this.documentId, ...payload }))
    const head = Buffer.alloc(HEAD_BYTES)
    head.writeUInt8(code)
    head.writeBigInt64BE(BigInt(Date.now()), 1)
    head.writeUInt32BE(json.length, 9)
    this.socket.send(Buffer.concat([head, json]))
  }

  /// Sends one batch of these operations and waits for its ack.
  async write(...operations) {
    const messageId = `msg-${this.clientId}-${++this.writes}`
    const { clientId, documentId } = this
    const common = { documentId, clientId, timestamp: Date.now(), clock: { [clientId]: this.writes } }
    this.send(CODES.deltaBatch, { messageId, deltas: operations.map(operation => ({ ...operation, ...common })) })
    await this.hears(CODES.ack, { messageId })
  }

  present(state, clock) {
    this.send(CODES.awarenessUpdate, { clientId: this.clientId, state, clock })
  }

  all(code) {
    return this.heard.get(code) ?? []
  }

  /// The operations without a field that came, in order.
  operations() {
    return this.all(CODES.deltaBatch).flatMap(({ deltas }) => deltas)
  }

  /// Waits for a payload in which these fields have these values.
  async hears(code, fields) {
    const isIt = payload => Object.entries(fields).every(([name, value]) => payload[name] === value)
    const what = `${this.clientId} hears 0x${code.toString(16)} with ${JSON.stringify(fields)}`
    await eventually(what, () => this.all(code).some(isIt) || this.all(code), true)
    return this.all(code).find(isIt)
  }
}
