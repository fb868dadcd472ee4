// The queries of one client that its server answers: asks for them on each connection, and tells each what is said of it.

import { errorOf } from '../connection/requests'
import { passes, RETRY_MS } from '../connection/retry'
import type { Engine } from '../engine'
import type { AnnulusError } from '../errors'
import type { Incoming } from '../wire'

/** A query, as far as the connection has to do with it. */
export interface Asking {
  readonly map: string
  /** The fields of its `subscribe`, with the cursor that it has. */
  request(): object
  /** A part of a list, or of what has changed in it since. */
  snapshot(part: Incoming): void
  /** Whether the steps were of the list that it has. */
  change(message: Incoming): boolean
  /** The server does not answer it any more. `isPassing`: it is asked again. */
  failed(error: AnnulusError<string>, isPassing: boolean): void
  /** The connection is gone. */
  interrupted(): void
  /** And it does not come back by itself. */
  ended(error: AnnulusError<string>): void
}

const known = new WeakMap<Engine, Queries>()

export class Queries {
  /** Under which `id` the server has each; 0: under none. */
  readonly #ids = new Map<Asking, number>()
  readonly #byId = new Map<number, Asking>()

  static of(engine: Engine): Queries {
    let queries = known.get(engine)
    if (!queries) known.set(engine, (queries = new Queries(engine)))
    return queries
  }

  private constructor(private readonly engine: Engine) {
    const { connection } = engine
    connection.on('hello', () => {
      for (const query of this.#ids.keys()) this.#ask(query)
    })
    connection.on('state', state => {
      if (state !== 'offline' && state !== 'closed') return
      this.#interrupted()
      if (state === 'closed') for (const query of this.#ids.keys()) query.ended(engine.endedBy())
    })
    connection.on('message', message => this.#message(message))
  }

  add(query: Asking): void {
    this.#ids.set(query, 0)
    this.#ask(query)
  }

  remove(query: Asking): void {
    this.#end(query)
    this.#ids.delete(query)
  }

  /** Asks for all of it, as what the query has is not what the server takes it to have. */
  #again(query: Asking): void {
    this.#end(query)
    query.interrupted()
    this.#ask(query)
  }

  #ask(query: Asking): void {
    const { connection } = this.engine
    if (connection.state !== 'open') return
    const id = connection.ask({ type: 'subscribe', map: query.map, ...query.request() }, (error, part) => {
      if (this.#ids.get(query) !== id) return
      if (part) query.snapshot(part)
      else if (error) this.#failed(query, error)
    })
    this.#ids.set(query, id)
    this.#byId.set(id, query)
  }

  #end(query: Asking): void {
    const id = this.#ids.get(query)
    if (!id) return
    this.#forget(query)
    this.engine.connection.ask({ type: 'unsubscribe', map: query.map, query: id }, () => undefined)
  }

  #forget(query: Asking): void {
    this.#byId.delete(this.#ids.get(query) ?? 0)
    this.#ids.set(query, 0)
  }

  #interrupted(): void {
    this.#byId.clear()
    for (const query of this.#ids.keys()) {
      this.#ids.set(query, 0)
      query.interrupted()
    }
  }

  #message(message: Incoming): void {
    const { type, map, query: id } = message
    if (id === undefined) {
      if (type === 'error' && message.code === 'forbidden') this.#forbidden(map, message)
      return
    }
    const query = this.#byId.get(id)
    if (!query) return
    if (type === 'snapshot') query.snapshot(message)
    else if (type === 'change') query.change(message) || this.#again(query)
    else if (type === 'error') this.#failed(query, errorOf(message as never))
  }

  /** Nothing of a map is told any more. */
  #forbidden(map: unknown, message: Incoming): void {
    for (const query of [...this.#byId.values()]) if (query.map === map) this.#failed(query, errorOf(message as never))
  }

  #failed(query: Asking, error: AnnulusError<string>): void {
    if (error.code === 'connection_lost' || error.code === 'cancelled') return
    this.#forget(query)
    const isPassing = passes(error.code)
    query.failed(error, isPassing)
    if (!isPassing) return this.engine.emit('error', error)
    const again = () => this.#ids.get(query) === 0 && this.#ask(query)
    setTimeout(again, error.retryAfterMs ?? RETRY_MS)
  }
}
