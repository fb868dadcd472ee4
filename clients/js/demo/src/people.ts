// Who is here: names and colours in the header, cursors on the board.

import type { Member, Room } from 'annulus-client'
import { byId, make } from './page'

export interface Person {
  name: string
  /** One of `COLOURS`. */
  colour: number
  cursor: { x: number; y: number } | null
  /** The note that is edited or moved. */
  note: string | null
}

export const COLOURS = 6

const ADJECTIVES = ['Quiet', 'Swift', 'Sunny', 'Clever', 'Gentle', 'Bold', 'Merry', 'Calm']
const ANIMALS = ['Otter', 'Heron', 'Lynx', 'Wren', 'Badger', 'Fox', 'Owl', 'Hare', 'Seal', 'Finch']
const STORED = 'annulus-demo-person'

export class People {
  #me: Person
  /** Whether the colour is for good. */
  #isColoured: boolean
  readonly #cursors = new Map<string, HTMLElement>()
  /** Who is at which note, beside oneself. */
  readonly at = new Map<string, Person>()

  constructor(
    private readonly room: Room<Person>,
    private readonly moved: () => void,
  ) {
    const known = stored()
    this.#isColoured = known !== null
    this.#me = known ?? stranger()
    this.#store()
    room.join(this.#me)
    room.subscribe(() => this.#show())
  }

  get me(): Person {
    return this.#me
  }

  rename(name: string): void {
    this.update({ name: name.trim() || stranger().name })
    this.#store()
  }

  update(change: Partial<Person>): void {
    this.#me = { ...this.#me, ...change }
    this.room.update(this.#me)
    this.#show()
  }

  #store(): void {
    sessionStorage.setItem(STORED, JSON.stringify({ name: this.#me.name, colour: this.#me.colour }))
  }

  /** Another colour than those who were here before, if there is one. */
  #chooseColour(others: Member<Person>[]): void {
    if (this.#isColoured || !this.room.self) return
    this.#isColoured = true
    const taken = new Set(others.map(({ state }) => state.colour % COLOURS))
    for (let i = 0; i < COLOURS && taken.has(this.#me.colour); i++) this.#me.colour = (this.#me.colour + 1) % COLOURS
    this.#store()
    this.room.update(this.#me)
  }

  #show(): void {
    const others = this.room.others.filter(({ state }) => isPerson(state))
    this.#chooseColour(others)
    const me = { state: this.#me, member: '' } as Member<Person>
    byId('people').replaceChildren(
      ...[me, ...others].map(member => {
        const { name, colour } = member.state
        const text = member === me ? `${name} (you)` : name
        return make('li', { className: `person c${colour % COLOURS}`, title: text }, text)
      }),
    )
    this.at.clear()
    for (const { state } of others) if (state.note !== null) this.at.set(state.note, state)
    this.#showCursors(others)
    this.moved()
  }

  #showCursors(others: Member<Person>[]): void {
    const gone = new Set(this.#cursors.keys())
    for (const { member, state } of others) {
      if (!state.cursor) continue
      gone.delete(member)
      let cursor = this.#cursors.get(member)
      if (!cursor) {
        cursor = make('div', {}, make('span'))
        this.#cursors.set(member, cursor)
        byId('cursors').append(cursor)
      }
      cursor.className = `cursor c${state.colour % COLOURS}`
      cursor.style.transform = `translate(${Number(state.cursor.x)}px, ${Number(state.cursor.y)}px)`
      if (cursor.firstChild) cursor.firstChild.textContent = state.name
    }
    for (const member of gone) {
      this.#cursors.get(member)?.remove()
      this.#cursors.delete(member)
    }
  }
}

/** Anybody may join the room with any state. */
function isPerson(state: unknown): state is Person {
  const { name, colour } = (state ?? {}) as Person
  return typeof name === 'string' && typeof colour === 'number'
}

function stored(): Person | null {
  const text = sessionStorage.getItem(STORED)
  return text === null ? null : { ...JSON.parse(text), cursor: null, note: null }
}

function stranger(): Person {
  const one = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)] as T
  const colour = Math.floor(Math.random() * COLOURS)
  return { name: `${one(ADJECTIVES)} ${one(ANIMALS)}`, colour, cursor: null, note: null }
}
