// Documents of Yjs on a real server: two who write at once, offline, later, after a restart, and many blobs.

import { expect, onTestFinished, test } from 'vitest'
import * as Y from 'yjs'
import { fileStore } from '../src/node'
import { YjsProvider, type YjsProviderOptions } from '../src/yjs'
import { connect, folder, type Server, startServer, until } from './server'

interface Writer {
  db: ReturnType<typeof connect>
  doc: Y.Doc
  text: Y.Text
  provider: YjsProvider
}

function open(server: Server, options: YjsProviderOptions = {}, db = connect(server)): Writer {
  const doc = new Y.Doc()
  const provider = new YjsProvider(db, 'doc', doc, options)
  onTestFinished(() => provider.destroy())
  return { db, doc, text: doc.getText('t'), provider }
}

const says = (writer: Writer, text: string) =>
  until(
    () => writer.text.toString() === text,
    () => writer.text.toString(),
  )

const blobs = (server: Server) => connect(server).map<string>('yjs:doc')

test('two who write at once have the same, and who comes later, too', async () => {
  const server = await startServer()
  const [one, other] = [open(server), open(server)]
  await Promise.all([one.provider.synced(), other.provider.synced()])
  one.text.insert(0, 'Hello')
  const began = Date.now()
  await says(other, 'Hello')
  // Over the channel, before there is anything in the map.
  expect(Date.now() - began).toBeLessThan(900)
  other.text.insert(5, ' there')
  one.text.insert(5, ',')
  await until(() => one.text.toString() === other.text.toString() && one.text.length === 12)
  expect(one.text.toString()).toContain('Hello')
  // At once, when nothing of it is in the map, and later, when all is.
  await says(open(server), one.text.toString())
  await one.provider.synced()
  await other.provider.synced()
  one.provider.destroy()
  other.provider.destroy()
  await says(open(server), one.text.toString())
})

test('what is written offline on both sides is merged', async () => {
  const server = await startServer()
  const [one, other] = [open(server), open(server)]
  one.text.insert(0, 'base')
  await says(other, 'base')
  one.db.disconnect()
  await until(() => !one.provider.isSynced)
  one.text.insert(0, 'A ')
  one.text.delete(2, 1)
  other.text.insert(4, ' B')
  await other.provider.synced()
  one.db.connect()
  await says(one, 'A ase B')
  await says(other, 'A ase B')
})

test('what was written offline outlasts its client, and the server', async () => {
  const server = await startServer({ onDisk: true })
  const path = `${await folder()}/store`
  const first = open(server, {}, connect(server, { offline: fileStore(path) }))
  first.text.insert(0, 'online')
  await first.provider.synced()
  first.db.disconnect()
  first.text.insert(6, ', offline')
  // As when a tab is closed.
  await new Promise(resolve => setTimeout(resolve, 300))
  first.provider.destroy()
  await first.db.close()
  await server.stop()

  const again = open(server, {}, connect(server, { offline: fileStore(path), autoConnect: false }))
  await says(again, 'online, offline')
  await server.start()
  again.db.connect()
  await again.provider.synced()
  await says(open(server), 'online, offline')
})

test('what somebody has said and not kept is kept by who has heard it', async () => {
  const server = await startServer()
  const [one, other] = [open(server), open(server)]
  await Promise.all([one.provider.synced(), other.provider.synced()])
  one.text.insert(0, 'last words')
  await says(other, 'last words')
  // As when its power goes.
  void one.db.close()
  const map = blobs(server)
  await until(
    () => map.size > 0,
    () => map.size,
    25_000,
  )
  other.provider.destroy()
  await server.start().catch(() => undefined)
  const text = new Y.Doc()
  for (const [, value] of map.entries()) Y.applyUpdate(text, Buffer.from(value, 'base64'))
  expect(text.getText('t').toString()).toBe('last words')
}, 40_000)

test.each([true, false])('many blobs become one, while others write and compact as well: %s', async onDisk => {
  const server = await startServer({ onDisk })
  const writers = [open(server, { compactAfter: 5 }), open(server, { compactAfter: 5 })] as const
  const map = blobs(server)
  for (let i = 0; i < 30; i++) {
    for (const { text, provider } of writers) {
      text.insert(text.length, `${i};`)
      if (i % 7 === 3) text.delete(0, 1)
      await provider.synced()
    }
  }
  await until(
    () => map.size <= 5,
    () => map.size,
  )
  const [one, other] = writers
  await until(() => one.text.toString() === other.text.toString())
  const late = open(server)
  await late.provider.synced()
  expect(late.text.toString()).toBe(one.text.toString())
  expect(Y.encodeStateVector(late.doc)).toEqual(Y.encodeStateVector(one.doc))
})

test('a document larger than a value is kept in parts', async () => {
  const server = await startServer()
  const writer = open(server)
  const long = Array.from({ length: 50_000 }, (_, i) => i.toString(36))
    .join(' ')
    .repeat(2)
  writer.text.insert(0, long)
  await writer.provider.synced()
  expect(blobs(server)).toBeDefined()
  const late = open(server)
  await late.provider.synced()
  expect(late.text.toString() === long).toBe(true)
})

test('who is here is known of those who are, and of nobody without a connection', async () => {
  const server = await startServer()
  const [one, other] = [open(server), open(server)]
  one.provider.awareness?.setLocalStateField('user', { name: 'Ada' })
  other.provider.awareness?.setLocalStateField('user', { name: 'Bob' })
  const names = ({ provider }: Writer) => {
    const states = [...(provider.awareness?.getStates().values() ?? [])]
    return states
      .map(state => state.user?.name)
      .sort()
      .join()
  }
  await until(
    () => names(one) === 'Ada,Bob' && names(other) === 'Ada,Bob',
    () => [names(one), names(other)],
  )
  const late = open(server)
  await until(
    () => names(late).includes('Ada,Bob'),
    () => names(late),
  )
  one.db.disconnect()
  await until(() => names(one) === 'Ada')
  one.db.connect()
  await until(
    () => names(one).includes('Ada,Bob'),
    () => names(one),
  )
  other.provider.destroy()
  await until(
    () => !names(one).includes('Bob'),
    () => names(one),
  )
})

test('who writes what is no update harms nobody', async () => {
  const server = await startServer()
  const writer = open(server)
  await writer.provider.synced()
  const map = blobs(server)
  await map.set('x/0/1', 'bm8gdXBkYXRl')
  await map.set('garbage', '%%%')
  await connect(server).channel('yjs:doc').publish({ from: 'x', id: 'y', update: 'AAECAw==' })
  await connect(server).channel('yjs:doc:here').publish({ from: 'x', state: 'AAECAw==' })
  writer.text.insert(0, 'fine')
  await writer.provider.synced()
  await says(open(server), 'fine')
})
