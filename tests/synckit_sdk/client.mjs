// Clients made of SyncKit's SDK, as an app makes them, and what a test needs to see of them.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'

import { SyncKit } from '@synckit-js/sdk'
import { WebSocket } from 'ws'

/// How long a test waits for anything before it fails, in milliseconds.
const PATIENCE_MS = 10_000

/// Every socket of the SDK that is open or opening: it may hold several, and forgets all but the newest.
const sockets = new Set()

globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url)
    sockets.add(this)
    this.once('close', () => sockets.delete(this))
  }
}

// The SDK comments on each step; only the last of it is shown, with a failure.
const said = []
for (const level of ['log', 'warn', 'error', 'debug']) {
  console[level] = (...words) => {
    said.push(words.map(word => (typeof word === 'string' ? word : JSON.stringify(word))).join(' '))
    if (said.length > 20) said.shift()
  }
}

/// A connected client without a store of its own, closed with the test `t`. With `getAuthToken` it shows what that gives each time
/// that it connects: the SDK's socket can, and has no option for it.
export async function connect(t, server, clientId, getAuthToken) {
  // Each attempt that fails starts two more: with shorter delays a restart would be met by hundreds of connections.
  const network = { reconnect: { initialDelay: 100, multiplier: 2, maxDelay: 3_000 } }
  const kit = new SyncKit({ serverUrl: server.url, storage: 'memory', clientId, network })
  t.after(() => close(kit))
  if (getAuthToken) {
    let socket
    Object.defineProperty(kit, 'websocket', {
      get: () => socket,
      set: made => {
        socket = made
        socket.config.getAuthToken = getAuthToken
      },
    })
  }
  await kit.init()
  return kit
}

/// The document, once the server has answered its subscription.
export async function open(kit, id) {
  const document = kit.document(id)
  await eventually(`${id} is subscribed`, () => kit.getSyncState(id).state, 'synced')
  return document
}

/// The document in a new client, which knows only what the server tells it.
export async function openAnew(t, server, id) {
  return open(await connect(t, server, `reader-${Math.random()}`), id)
}

/// Waits until the documents show exactly these fields.
export async function show(documents, fields) {
  for (const document of documents) {
    await eventually(`${document.clientId} sees ${document.getId()}`, () => document.get(), fields)
  }
}

/// Waits until the documents show one and the same of these values.
export async function agree(documents, field, values) {
  const seen = () => documents.map(document => document.get()[field])
  const isAgreed = () => values.some(value => seen().every(it => it === value)) || seen()
  await eventually(`all see one ${field}`, isAgreed, true)
}

/// Looks again and again until `look` returns what is expected.
export async function eventually(what, look, expected) {
  const end = Date.now() + PATIENCE_MS
  while (!isDeepStrictEqual(look(), expected)) {
    if (Date.now() > end) assert.deepEqual(look(), expected, waited(what, look(), expected))
    await sleep(5)
  }
}

function waited(what, actual, expected) {
  const [is, wanted] = [actual, expected].map(value => JSON.stringify(value))
  return `waited in vain: ${what}\n  is       ${is}\n  expected ${wanted}\nthe SDK said at last:\n  ${said.join('\n  ')}`
}

/// Cuts every connection of all clients, without a word.
export function cut() {
  for (const socket of sockets) socket.terminate()
}

/// `dispose` leaves the SDK's timers running, which would connect again and keep this process alive.
function close(kit) {
  kit.websocket.config.reconnect.enabled = false
  kit.websocket.establishConnection = async () => {}
  kit.dispose()
  cut()
}
