// Channels over `ws`, as an application that has nothing else would write them: what `loadtest` says in the dialect of
// channels, and nothing of history. Run as: node ws.mjs <port>

import { WebSocketServer } from 'ws'

const port = Number(process.argv[2])
const channels = new Map()

const channelOf = (name) => {
  let channel = channels.get(name)
  if (!channel) channels.set(name, (channel = { offset: 0, members: new Set() }))
  return channel
}

const server = new WebSocketServer({ host: '127.0.0.1', port, backlog: 4096, clientTracking: false })
server.on('connection', (socket) => {
  const joined = new Set()
  socket.send('{"type":"hello","protocol":1}')
  socket.on('message', (bytes) => {
    const { type, id, channel: name, data } = JSON.parse(bytes)
    if (type === 'publish') {
      const channel = channelOf(name)
      const offset = ++channel.offset
      // Text is made into bytes once for all members; a frame of its own is `ws`'s for each.
      const message = Buffer.from(JSON.stringify({ type: 'message', channel: name, offset, data, time: Date.now() }))
      for (const member of channel.members) if (member !== socket) member.send(message, { binary: false })
      socket.send(JSON.stringify({ type: 'published', id, channel: name, offset }))
    } else if (type === 'join') {
      const channel = channelOf(name)
      channel.members.add(socket)
      joined.add(channel)
      socket.send(JSON.stringify({ type: 'joined', id, channel: name, offset: channel.offset }))
    } else if (type === 'ping') {
      socket.send(JSON.stringify({ type: 'pong', id }))
    } else {
      socket.send(JSON.stringify({ type: 'error', id, code: 'unknown_type', message: 'no message has this type' }))
    }
  })
  socket.on('close', () => joined.forEach((channel) => channel.members.delete(socket)))
  socket.on('error', () => socket.terminate())
})
process.on('SIGTERM', () => process.exit(0))
