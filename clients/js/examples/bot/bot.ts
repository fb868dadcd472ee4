// A program among people: it reads along in a channel, and puts on the list of the todo example what it is told to.
//
//   npm run bot -- ws://127.0.0.1:9000/v1

import { Annulus } from 'annulus-client'
import { WebSocket } from 'ws'

const [server = 'ws://127.0.0.1:9000/v1'] = process.argv.slice(2)
const db = new Annulus(server, { webSocket: WebSocket })
const chat = db.channel<string>('chat')
const todos = db.map('todos')

chat.on('message', async ({ data }) => {
  const asked = /^todo: *(.+)$/.exec(data)
  if (asked?.[1] === undefined) return
  await todos.set(crypto.randomUUID(), { title: asked[1], done: false, at: db.now() })
  await chat.publish(`On the list: ${asked[1]}`)
})
chat.join()
db.room('chat').join({ name: 'bot' })
db.subscribe(state => console.log(`${server}: ${state}`))

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, async () => {
    await db.close()
    process.exit(0)
  })
}
