// One connection that is opened again whenever it ends, until it is told to stop or must not come back.
//
// Invariant: at most one socket is looked at; what one that was given up still says is nobody's.

import { Emitter } from '../emitter'
import { AnnulusError } from '../errors'
import type { Hello, Incoming } from '../wire'
import { Backoff, retryAfterMs } from './backoff'
import { Liveness } from './liveness'
import { type Answer, Requests } from './requests'
import type { Socket, Sockets } from './socket'
import { watchWorld } from './world'

/**
 * `connecting`: the first attempt, or another one, is under way. `open`: the server has said hello. `offline`: waiting
 * for the next attempt, or for `connect()`. `closed`: it does not come back by itself; `error` says why.
 */
export type ConnectionState = 'connecting' | 'open' | 'offline' | 'closed'

export type Token = string | (() => string | Promise<string>)

export interface Identity {
  user: string
  roles: string[]
  /** Unix milliseconds; `null`: never. */
  expiresAt: number | null
}

interface Events {
  state: ConnectionState
  /** Before anything else of this connection. */
  hello: Hello
  /** Everything but hello and answers. */
  message: Incoming
  error: AnnulusError<string>
  identity: Identity
}

/** How long a connection may take until the server has said hello. */
const OPENING_MS = 10_000

export class Connection extends Emitter<Events> {
  #state: ConnectionState = 'offline'
  #socket: Socket | null = null
  #liveness: Liveness | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #attempt = 0
  #openedAt = 0
  /** Whether the last token was refused, so that a second refusal is the end. */
  #wasRefused = false
  /** Whether it was closed here, for good. */
  #isOver = false
  readonly #requests = new Requests()
  readonly #backoff = new Backoff()
  readonly #unwatch: () => void
  /** Why the connection is `closed`, if not by `close()`. */
  error: AnnulusError<string> | null = null
  identity: Identity | null = null
  /** What every attempt waits for before it begins. */
  ready: Promise<void> = Promise.resolve()

  constructor(
    private readonly url: string,
    private readonly sockets: Sockets,
    private readonly token: Token | undefined,
  ) {
    super()
    this.#unwatch = watchWorld({
      online: () => (this.#state === 'offline' && this.#timer !== undefined ? this.connect() : this.#liveness?.check()),
      doubt: () => this.#liveness?.check(),
    })
  }

  get state(): ConnectionState {
    return this.#state
  }

  /** Connects now, unless it is connected or connecting. */
  connect(): void {
    if (this.#state === 'connecting' || this.#state === 'open' || this.#isOver) return
    this.error = null
    this.#stopTimer()
    this.#enter('connecting')
    void this.#begin(++this.#attempt)
  }

  /** Stays offline until `connect()`. */
  disconnect(): void {
    if (this.#state === 'closed') return
    this.#leave(1000)
    this.#enter('offline')
  }

  /** Ends it for good. */
  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#unwatch()
    if (this.#state !== 'closed') this.stop(null)
  }

  /** Ends it until somebody calls `connect()`. */
  stop(error: AnnulusError<string> | null): void {
    this.#leave(1000)
    this.error = error
    this.#enter('closed')
    if (error) this.emit('error', error)
  }

  /** Whether it was sent. Without an `open` connection nothing is. */
  send(message: object): boolean {
    if (this.#state !== 'open' || !this.#socket) return false
    this.#socket.send(JSON.stringify(message))
    return true
  }

  /** As `send`, with an answer, which is called in any case. The `id` of the request; 0: there is no connection. */
  ask(message: object, answer: Answer): number {
    if (this.#state !== 'open') {
      answer(new AnnulusError('connection_lost', 'there is no connection'), null)
      return 0
    }
    const id = this.#requests.add(answer)
    // The id comes first, as the server reads it from there also when it reads nothing else.
    this.send({ id, ...message })
    return id
  }

  /** As `ask`, with a promise; an attempt that is under way is waited for. */
  request(message: object): Promise<Incoming> {
    return new Promise((resolve, reject) => {
      const answer: Answer = (error, answer) => (error ? reject(error) : resolve(answer as Incoming))
      if (this.#state !== 'connecting') return void this.ask(message, answer)
      const unsubscribe = this.on('state', () => {
        unsubscribe()
        this.ask(message, answer)
      })
    })
  }

  async #begin(attempt: number): Promise<void> {
    const protocols = ['annulus.v1']
    await this.ready
    if (attempt !== this.#attempt) return
    try {
      const own = this.sockets.isRelayed ? undefined : this.token
      const token = typeof own === 'function' ? await own() : own
      if (token !== undefined) protocols.push(`bearer.${token}`)
    } catch (cause) {
      if (attempt !== this.#attempt) return
      this.emit('error', new AnnulusError('token_failed', 'the token callback has failed', { cause }))
      this.#retry(this.#backoff.next())
      return
    }
    if (attempt !== this.#attempt) return
    let socket: Socket
    try {
      socket = this.sockets.open(this.url, protocols)
    } catch (cause) {
      // The URL, or a token that no header can carry: it will not be better the next time.
      this.stop(new AnnulusError('bad_request', `no WebSocket can be opened: ${cause}`, { cause }))
      return
    }
    this.#socket = socket
    this.#timer = setTimeout(() => this.#ended(socket, 1006, ''), OPENING_MS)
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket && typeof data === 'string') this.#receive(JSON.parse(data) as Incoming)
    }
    socket.onclose = ({ code, reason }) => this.#ended(socket, code, String(reason))
    // What matters is told by the close that follows.
    socket.onerror = () => undefined
  }

  #receive(message: Incoming): void {
    this.#liveness?.heard()
    if (message.type === 'hello') return this.#hello(message as unknown as Hello)
    if (message.type === 'authenticated') this.#authenticated(message)
    if (this.#requests.answer(message)) return
    if (message.type === 'auth.expiring') void this.#renew()
    this.emit('message', message)
  }

  #hello(hello: Hello): void {
    this.#stopTimer()
    this.#openedAt = Date.now()
    this.#liveness = new Liveness(
      hello.heartbeat_ms * 0.75,
      () => this.send({ type: 'ping' }),
      () => this.#socket && this.#ended(this.#socket, 1006, 'silence'),
    )
    this.#state = 'open'
    this.emit('hello', hello)
    this.emit('state', 'open')
  }

  #authenticated(message: Incoming): void {
    this.#wasRefused = false
    this.identity = { user: message.user, roles: message.roles, expiresAt: message.expires_at }
    this.emit('identity', this.identity)
  }

  async #renew(): Promise<void> {
    const attempt = this.#attempt
    try {
      const token = typeof this.token === 'function' ? await this.token() : this.token
      if (attempt !== this.#attempt) return
      this.ask({ type: 'auth', token }, error => error && this.emit('error', error))
    } catch (cause) {
      this.emit('error', new AnnulusError('token_failed', 'the token callback has failed', { cause }))
    }
  }

  #ended(socket: Socket, code: number, reason: string): void {
    if (socket !== this.#socket) return
    if (this.#state === 'open') this.#backoff.held(Date.now() - this.#openedAt)
    this.#leave()
    if (code === 4009) return this.stop(new AnnulusError('replaced', 'another session of this user has taken over'))
    if (code === 4003) return this.stop(new AnnulusError('denied', reason || 'the identity may not use this server'))
    if (code === 4001 || code === 4002) {
      const isOver = this.#wasRefused || typeof this.token !== 'function'
      const cause = code === 4001 ? 'auth_required' : 'auth_failed'
      if (isOver) return this.stop(new AnnulusError(cause, reason || 'the token is not believed'))
      this.#wasRefused = true
      return this.#retry(0)
    }
    this.#retry(retryAfterMs(reason) ?? this.#backoff.next())
  }

  #retry(ms: number): void {
    this.#enter('offline')
    // A listener may have connected, or closed.
    if (this.#state !== 'offline') return
    this.#timer = setTimeout(() => this.connect(), ms)
  }

  /** Gives the socket up, whatever it still says. */
  #leave(code?: number): void {
    this.#attempt += 1
    this.#stopTimer()
    this.#liveness?.stop()
    this.#liveness = null
    const socket = this.#socket
    this.#socket = null
    if (socket) {
      try {
        socket.close(code)
      } catch {
        // It was never open.
      }
    }
    if (this.#state === 'open') this.#state = 'offline'
    this.#requests.drop()
  }

  #stopTimer(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #enter(state: ConnectionState): void {
    if (this.#state === state && state !== 'offline') return
    this.#state = state
    this.emit('state', state)
  }
}
