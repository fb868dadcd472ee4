// How a connection ends, and whether and when it is opened again.

import { expect, onTestFinished, test, vi } from 'vitest'
import { Annulus } from '../src'
import { Backoff } from '../src/connection/backoff'
import { startPeer } from './peer'
import { connect, startServer, until } from './server'
import { SECRET, tokenFor } from './tokens'

test('attempts come after random times that grow to half a minute', () => {
  const most = new Backoff(() => 1)
  expect(Array.from({ length: 9 }, () => most.next())).toEqual([250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000])
  most.held(1000)
  expect(most.next()).toBe(30000)
  most.held(5000)
  expect(most.next()).toBe(250)
  expect(new Backoff(() => 0).next()).toBe(0)
})

test.each([1001, 1013])('after %d it comes back when it was told to', async code => {
  const peer = await startPeer()
  peer.greet = socket => socket.close(code, 'retry_after_ms=300')
  const db = connect(peer)
  await until(() => peer.came.length === 3)
  const [first, second, third] = peer.came.map(({ at }) => at) as [number, number, number]
  expect(second - first).toBeGreaterThanOrEqual(295)
  expect(third - second).toBeGreaterThanOrEqual(295)
  expect(db.state).not.toBe('closed')
})

test('after 4008 it comes back, and asks for what it lacks', async () => {
  const peer = await startPeer()
  const db = connect(peer)
  db.map('todos')
  await until(() => peer.received.length === 1)
  peer.say({
    type: 'snapshot',
    id: peer.received[0]?.id,
    map: 'todos',
    entries: [],
    more: false,
    cursor: 'c1',
    resumed: false,
    reset: false,
  })
  peer.say({ type: 'change', map: 'todos', entries: [], cursor: 'c2' })
  peer.socket?.close(4008)
  await until(() => peer.received.length === 2)
  expect(peer.received[1]).toMatchObject({ type: 'subscribe', map: 'todos', since: 'c2' })
})

test.each([
  [4009, 'replaced'],
  [4003, 'denied'],
])('after %d it does not come back', async (code, reason) => {
  const peer = await startPeer()
  const db = connect(peer)
  const errors: string[] = []
  db.on('error', error => errors.push(error.code))
  await until(() => db.state === 'open')
  const written = db.map('todos').set('a', 1)
  peer.socket?.close(code)
  await until(() => db.state === 'closed')
  await expect(written).rejects.toMatchObject({ code: reason })
  expect(errors).toEqual([reason])
  await new Promise(resolve => setTimeout(resolve, 400))
  expect(peer.came.length).toBe(1)
  db.connect()
  expect(db.error).toBeNull()
  await until(() => db.state === 'open')
})

test('after 4002 it asks for another token, once', async () => {
  const server = await startServer({ secret: SECRET })
  const asked: string[] = []
  const tokens = [tokenFor('anna', 60_000, 'another secret of at least 32 bytes'), tokenFor('anna', 60_000)]
  const token = () => {
    asked.push('token')
    return tokens[asked.length - 1] ?? 'no.good.token'
  }
  const db = connect(server, { token })
  await db.map('todos').synced()
  expect(asked.length).toBe(2)
  expect(db.identity).toMatchObject({ user: 'anna' })

  const refused = connect(server, { token: () => tokens[0] as string })
  await until(() => refused.state === 'closed')
  expect(refused.error?.code).toBe('auth_failed')
  const fixed = connect(server, { token: tokens[0] as string })
  await until(() => fixed.state === 'closed')
  expect(fixed.error?.code).toBe('auth_failed')
})

test('a token is renewed before it is over, and nothing is lost', async () => {
  const server = await startServer({ secret: SECRET })
  let asked = 0
  const db = connect(server, {
    token: async () => {
      asked += 1
      return tokenFor('anna', 2_000)
    },
  })
  const states: string[] = []
  const map = db.map<number>('todos')
  await map.synced()
  db.on('state', state => states.push(state))
  const other = connect(server, { token: tokenFor('bert', 60_000) }).map<number>('todos')
  const end = Date.now() + 5_000
  for (let i = 0; Date.now() < end; i++) {
    await other.set('n', i)
    await until(() => map.get('n') === i)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  expect(asked).toBeGreaterThan(2)
  expect(states).toEqual([])
})

test('a token callback that fails is asked again', async () => {
  const server = await startServer({ secret: SECRET })
  let asked = 0
  const db = connect(server, {
    token: () => {
      if (++asked < 3) throw new Error('no network')
      return tokenFor('anna', 60_000)
    },
  })
  const errors: string[] = []
  db.on('error', error => errors.push(error.code))
  await until(() => db.state === 'open')
  expect(errors).toEqual(['token_failed', 'token_failed'])
})

test('a connection through which nothing comes is given up', async () => {
  const peer = await startPeer()
  peer.greet = () => peer.hello({ heartbeat_ms: 400 })
  const db = connect(peer)
  await until(() => peer.received.filter(({ type }) => type === 'ping').length >= 2)
  expect(peer.came.length).toBe(1)
  peer.answersPings = false
  await until(() => peer.came.length === 2 && db.state === 'open')
})

test('a network that comes back is tried at once, and a doubtful one is asked', async () => {
  // Node has no such events of its own.
  const world = new EventTarget()
  for (const name of ['addEventListener', 'removeEventListener'] as const) vi.stubGlobal(name, world[name].bind(world))
  onTestFinished(() => void vi.unstubAllGlobals())
  const peer = await startPeer()
  peer.greet = socket => socket.close(1013, 'retry_after_ms=60000')
  const db = connect(peer)
  await until(() => db.state === 'offline')
  peer.greet = () => peer.hello()
  world.dispatchEvent(new Event('online'))
  await until(() => db.state === 'open')
  world.dispatchEvent(new Event('offline'))
  await until(() => peer.received.some(({ type }) => type === 'ping'))
})

test('messages, fields and codes that nobody knows yet are no trouble', async () => {
  const peer = await startPeer()
  peer.greet = () => peer.hello({ moon: 'full' })
  const db = connect(peer)
  const map = db.map<number>('todos')
  await until(() => peer.received.length === 1)
  peer.say({ type: 'dance', id: 4000 })
  peer.say({ type: 'change', map: 'unheard-of', entries: [], cursor: 'c' })
  const { id } = peer.received[0] as { id: number }
  const entries = [{ key: 'a', value: 1, at: '1:0:x', colour: 'red' }]
  peer.say({
    type: 'snapshot',
    id,
    map: 'todos',
    entries,
    more: false,
    cursor: 'c',
    resumed: false,
    reset: false,
    map_type: 'lww',
    x: 1,
  })
  await map.synced()
  const refused = map.set('b', 2)
  await until(() => peer.received.length === 2)
  peer.say({
    type: 'ack',
    id: peer.received[1]?.id,
    level: 'memory',
    applied: 0,
    stamps: [null],
    rejected: [{ index: 0, code: 'tired', message: 'no' }],
  })
  await expect(refused).rejects.toMatchObject({ code: 'tired' })
  expect([...map.entries()]).toEqual([['a', 1]])
})

test('without any WebSocket it says what to do', () => {
  const { WebSocket } = globalThis as { WebSocket?: unknown }
  Object.assign(globalThis, { WebSocket: undefined })
  try {
    expect(() => new Annulus('ws://127.0.0.1:1/v1')).toThrow('install ws')
  } finally {
    Object.assign(globalThis, { WebSocket })
  }
})
