// A server that asks for tokens, and the SDK that shows them.

import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'

import { connect, eventually, open, show } from './client.mjs'
import { startServer } from './server.mjs'

const ID = 'room:tokens'
const EVERYTHING = { canRead: ['*'], canWrite: ['*'], isAdmin: false }

/// A token as SyncKit's own server makes them (HS256, RFC 7515), which is over in so many seconds.
function sign(secret, userId, permissions = EVERYTHING, seconds = 300) {
  const now = Math.floor(Date.now() / 1000)
  const claims = { userId, permissions, iat: now, exp: now + seconds }
  const [head, body] = [{ alg: 'HS256', typ: 'JWT' }, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
  return `${head}.${body}.${createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url')}`
}

async function startAsking(t) {
  const secret = randomBytes(32).toString('base64')
  return { secret, server: await startServer(t, { secret }) }
}

test('clients with tokens share a document', async t => {
  const { secret, server } = await startAsking(t)
  const kits = await Promise.all(['ann', 'bob'].map(name => connect(t, server, name, () => sign(secret, name))))
  const [ann, bob] = await Promise.all(kits.map(kit => open(kit, ID)))
  await ann.set('title', 'from Ann')
  await show([ann, bob], { title: 'from Ann' })
})

test('a token may stand in the address, for whom the SDK has no option', async t => {
  const { secret, server } = await startAsking(t)
  const withToken = { url: `${server.url}?token=${sign(secret, 'ann')}` }
  const ann = await open(await connect(t, withToken, 'ann'), ID)
  await ann.set('title', 'from Ann')
  await show([ann], { title: 'from Ann' })
})

test('who has none, or a forged one, sees nothing', async t => {
  const { secret, server } = await startAsking(t)
  const ann = await open(await connect(t, server, 'ann', () => sign(secret, 'ann')), ID)
  await ann.set('secret', 1)
  const strangers = [await connect(t, server, 'eve', () => sign(`${secret}x`, 'ann')), await connect(t, server, 'nobody')]
  const documents = strangers.map(kit => kit.document(ID))
  const [eve, nobody] = strangers.map(kit => kit.websocket)
  await eventually('Eve is turned away, again and again', () => eve.reconnectAttempts > 1, true)
  await eventually('who shows no token is hung up on', () => nobody.isConnected(), false)
  for (const document of documents) assert.deepEqual(document.get(), {})
  await ann.set('secret', 2)
  await show([ann], { secret: 2 })
})

test('permissions hold', async t => {
  const { secret, server } = await startAsking(t)
  const reads = { canRead: [ID], canWrite: [], isAdmin: false }
  const ann = await open(await connect(t, server, 'ann', () => sign(secret, 'ann')), ID)
  const reader = await open(await connect(t, server, 'reader', () => sign(secret, 'reader', reads)), ID)
  await ann.set('title', 'from Ann')
  await show([ann, reader], { title: 'from Ann' })
  await reader.set('title', 'from a reader').catch(() => {})
  await ann.set('after', true)
  await eventually('Ann sees her own', () => ann.get(), { title: 'from Ann', after: true })
})

test('a client whose token is over comes back with another and sees what it missed', async t => {
  const { secret, server } = await startAsking(t)
  let shown = 0
  const renewing = () => sign(secret, 'ann', EVERYTHING, shown++ === 0 ? 1 : 300)
  const ann = await open(await connect(t, server, 'ann', renewing), ID)
  const bob = await open(await connect(t, server, 'bob', () => sign(secret, 'bob')), ID)
  await bob.set('before', 1)
  await show([ann, bob], { before: 1 })
  await eventually('the first token is over', () => shown > 1, true)
  await bob.set('after', 2)
  await show([ann, bob], { before: 1, after: 2 })
})
