// The queries of one of the other tabs, which the server answers through the leader's connection: under other ids there.

import type { Connection } from '../connection/connection'
import type { Incoming } from '../wire'

export class PeerQueries {
  /** Their maps, and the ids that the tab has given, by the ids that the server has. */
  readonly #own = new Map<number, { id: number | undefined; map: string }>()

  constructor(
    private readonly connection: Connection,
    private readonly tell: (message: object) => void,
    private readonly refuse: (id: number | undefined, error: unknown) => void,
  ) {}

  subscribe({ id: own, ...message }: Incoming): void {
    const id = this.connection.ask(message, (error, answer) => {
      if (answer) return this.tell({ ...answer, id: own, query: own })
      this.#own.delete(id)
      this.refuse(own, error)
    })
    if (id !== 0) this.#own.set(id, { id: own, map: message.map })
  }

  unsubscribe(own: number): void {
    for (const [id, query] of this.#own) if (query.id === own) this.#end(id, query.map)
  }

  /** The server has said something that answers nothing. */
  pushed(message: Incoming): void {
    const { type, map, query: id, code } = message
    for (const [other, query] of this.#own) {
      const isOver =
        type === 'error' && (other === id || (id === undefined && map === query.map && code === 'forbidden'))
      if (isOver) this.#own.delete(other)
      if (isOver || other === id) this.tell({ ...message, query: query.id })
    }
  }

  close(): void {
    for (const [id, { map }] of this.#own) this.#end(id, map)
  }

  #end(id: number, map: string): void {
    this.#own.delete(id)
    this.connection.ask({ type: 'unsubscribe', map, query: id }, () => undefined)
  }
}
