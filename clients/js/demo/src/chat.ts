// A channel: what is said now, and the last of what was said before.

import type { Annulus, Channel } from 'annulus-client'
import { announce, byId, make } from './page'
import { COLOURS, type People } from './people'

interface Said {
  name: string
  colour: number
  text: string
}

export class Chat {
  readonly #channel: Channel<Said>
  readonly #input = byId<HTMLInputElement>('text')

  constructor(
    db: Annulus,
    private readonly people: People,
  ) {
    this.#channel = db.channel<Said>('demo:chat', { keep: 50 })
    // So that the keyboard can scroll it.
    byId('messages').tabIndex = 0
    this.#channel.subscribe(() => this.#show())
    byId('say').addEventListener('submit', event => {
      event.preventDefault()
      void this.#say()
    })
  }

  async #say(): Promise<void> {
    const text = this.#input.value.trim()
    if (text === '') return
    const { name, colour } = this.people.me
    try {
      await this.#channel.publish({ name, colour, text })
      this.#input.value = ''
    } catch {
      // A channel has what was said while people were there: nothing is kept for later, but in the field.
      announce('Not sent: there is no connection')
    }
  }

  #show(): void {
    const list = byId('messages')
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    const known = list.childElementCount
    const said = this.#channel.messages.filter(({ data }) => typeof data?.text === 'string')
    const lines = said.map(({ data, time }) => {
      const who = make('b', { className: `c${Number(data.colour) % COLOURS}` }, `${data.name}`)
      const at = new Date(time)
      const clock = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
      return make('div', {}, who, ' ', make('time', { dateTime: at.toISOString() }, clock), make('p', {}, data.text))
    })
    // Lines that stay are left as they are, so that screen readers say the new ones only.
    const same = lines.findIndex((line, i) => !list.children[i]?.isEqualNode(line))
    if (same === -1 && lines.length === known) return
    for (const old of [...list.children].slice(Math.max(same, 0))) old.remove()
    list.append(...lines.slice(Math.max(same, 0)))
    if (isAtEnd || known === 0) list.scrollTop = list.scrollHeight
  }
}
