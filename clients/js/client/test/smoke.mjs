// What every runtime has to be able to: run with the address of a server and the path of a file for a store. It is
// plain JavaScript, on the package as it is installed.

import { Annulus } from 'annulus-client'
import { fileStore } from 'annulus-client/node'
import { remoteMap } from 'annulus-client/remote'

const [url, path] = process.argv.slice(2)

/** Waits until something holds. */
async function until(holds, what) {
  for (const end = Date.now() + 10_000; !holds(); ) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

const first = new Annulus(url, { offline: fileStore(path) })
const second = new Annulus(url)
const [mine, theirs] = [first, second].map(db => db.map('todos'))
const rows = remoteMap(second, 'todos').query({ sort: ['-n'] })
await mine.set('a', { n: 1 })
await until(() => theirs.get('a')?.n === 1, 'what the first has set')

// Offline, and back.
first.disconnect()
await until(() => first.state === 'offline', 'the end of the connection')
mine.set('b', { n: 2 })
theirs.set('c', { n: 3 })
first.counter('views').increment('page', 5)
await first.saved()
first.connect()
await until(() => theirs.has('b') && mine.has('c') && first.pending === 0, 'what both have missed')
await until(() => second.counter('views').get('page') === 5, 'what was counted')
await until(() => rows.rows.map(([key]) => key).join() === 'c,b,a', 'the query')

// Presence and what is said.
first.room('here').join({ name: 'Ada' })
const room = second.room('here').join({ name: 'Bob' })
await until(() => room.members.length === 2, 'who is here')
const chat = second.channel('chat').join()
await until(() => second.state === 'open', 'the connection')
await first.channel('chat').publish('hello')
await until(() => chat.messages.some(({ data }) => data === 'hello'), 'the message')

// Written without a connection, and found by the next client of the store.
first.disconnect()
mine.set('d', { n: 4 })
await first.close()
const third = new Annulus(url, { offline: fileStore(path) })
await until(() => theirs.get('d')?.n === 4, 'what the store has kept')
await Promise.all([third.close(), second.close()])
console.log('all of it works')
