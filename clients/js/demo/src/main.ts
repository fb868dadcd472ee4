// The page that a server shows to browsers: a board, a chat and a counter that all who open it share.

import { Annulus, indexedDb } from 'annulus-client'
import { Board } from './board'
import { Chat } from './chat'
import example from './example.txt?raw'
import { byId } from './page'
import { People, type Person } from './people'
import { takeSlot } from './slot'
import { showStatus, storedToken, wasOffline } from './status'
import './style.css'
import './panels.css'
import './board.css'

const url = new URL('/v1', location.href)
url.protocol = url.protocol.replace('http', 'ws')
const token = storedToken()
const db = new Annulus(url.href, {
  offline: indexedDb(`demo-${await takeSlot()}`),
  autoConnect: !wasOffline(),
  ...(token === null ? {} : { token }),
})

const board = new Board(db, () => people)
const people: People = new People(db.room<Person>('demo:board'), () => board.showPeople())
new Chat(db, people)
showStatus(db)

const counter = db.counter('demo:counters')
counter.subscribe('count', count => {
  byId('count').textContent = `${count ?? 0}`
})
byId('plus').addEventListener('click', () => counter.increment('count'))
byId('minus').addEventListener('click', () => counter.increment('count', -1))

const name = byId<HTMLInputElement>('name')
name.value = people.me.name
name.addEventListener('change', () => {
  people.rename(name.value)
  name.value = people.me.name
})

byId('code').textContent = example.replace('URL', url.href)
