// Channels over Socket.IO, as its documentation does rooms: `join` and `publish` are events with an acknowledgement, a
// message is an event to the room. Clients come over WebSocket at once, without long polling. Run as: node socket.io.mjs <port>

import { createServer } from 'node:http'
import { Server } from 'socket.io'

const port = Number(process.argv[2])
const offsets = new Map()

const http = createServer()
const io = new Server(http, { transports: ['websocket'], serveClient: false })
io.on('connection', (socket) => {
  socket.on('join', (channel, answer) => {
    socket.join(channel)
    answer({ type: 'joined', channel, offset: offsets.get(channel) ?? 0 })
  })
  socket.on('publish', (channel, data, answer) => {
    const offset = (offsets.get(channel) ?? 0) + 1
    offsets.set(channel, offset)
    socket.to(channel).emit('message', { channel, offset, data, time: Date.now() })
    answer({ type: 'published', channel, offset })
  })
  socket.on('probe', (answer) => answer({ type: 'pong' }))
})
http.listen({ host: '127.0.0.1', port, backlog: 4096 })
process.on('SIGTERM', () => process.exit(0))
