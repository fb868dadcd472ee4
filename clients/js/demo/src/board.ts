// Notes that everybody moves and edits. Where a note is and what it says are two entries of the map, so that one may be
// moved by somebody while it is edited by somebody else, and both stay.

import type { Annulus } from 'annulus-client'
import { NoteElement } from './note'
import { announce, byId } from './page'
import type { People } from './people'

export interface Content {
  text: string
  colour: number
}

export interface Place {
  x: number
  y: number
  /** Later ones lie above, in seconds. */
  z: number
}

/** The size of the board and of a note in pixels, as in style.css. */
const WORLD = { width: 860, height: 560 }
const NOTE = { width: 172, height: 132 }

export class Board {
  readonly #contents
  readonly #places
  readonly #elements = new Map<string, NoteElement>()

  constructor(
    private readonly db: Annulus,
    private readonly people: () => People,
  ) {
    this.#contents = db.map<Content>('demo:notes', { parse: content })
    this.#places = db.map<Place>('demo:places', { parse: place })
    this.#contents.subscribe((_, changes) => {
      for (const { key } of changes) this.#show(key)
      byId('empty').hidden = this.#contents.size > 0
    })
    this.#places.subscribe((_, changes) => {
      for (const { key } of changes) this.#show(key)
    })
    const board = byId('board')
    board.addEventListener('pointermove', event => this.people().update({ cursor: this.at(event) }))
    board.addEventListener('pointerleave', () => this.people().update({ cursor: null }))
    byId('add').addEventListener('click', () => this.#add())
  }

  /** Somebody has begun or ceased to be at a note. */
  showPeople(): void {
    for (const [id, element] of this.#elements) element.busy(this.people().at.get(id) ?? null)
  }

  move(id: string, x: number, y: number): Place {
    const place = clamped({ x, y, z: Math.floor(this.db.now() / 1000) })
    this.#places.set(id, place)
    return place
  }

  /** Where on the board it is that a pointer is, whatever of the board is in view. */
  at({ clientX, clientY }: PointerEvent): { x: number; y: number } {
    const { left, top } = byId('notes').getBoundingClientRect()
    return { x: Math.round(clientX - left), y: Math.round(clientY - top) }
  }

  /** Scrolls the board, and not the page, until a note at this place is in view. */
  reveal({ x, y }: Place): void {
    const board = byId('board')
    const within = (at: number, size: number, shown: number, now: number) =>
      Math.min(Math.max(now, at + size - shown), at)
    board.scrollLeft = within(x, NOTE.width, board.clientWidth, board.scrollLeft)
    board.scrollTop = within(y, NOTE.height, board.clientHeight, board.scrollTop)
  }

  edit(id: string, text: string): void {
    const content = this.#contents.get(id)
    if (content && content.text !== text) this.#contents.set(id, { ...content, text })
  }

  remove(id: string): void {
    this.#contents.delete(id)
    this.#places.delete(id)
    byId('add').focus()
    announce('Note removed')
  }

  attend(id: string | null): void {
    this.people().update({ note: id })
  }

  #add(): void {
    const id = `${this.db.now().toString(36)}-${Math.random().toString(36).slice(2, 6)}`
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = byId('board')
    const spread = (this.#contents.size % 6) * 26 - 65
    const x = scrollLeft + (Math.min(clientWidth, WORLD.width) - NOTE.width) / 2 + spread
    this.move(id, x, scrollTop + (Math.min(clientHeight, WORLD.height) - NOTE.height) / 2 + spread)
    this.#contents.set(id, { text: '', colour: this.people().me.colour })
    this.#elements.get(id)?.focus()
  }

  #show(id: string): void {
    const content = this.#contents.get(id)
    const element = this.#elements.get(id)
    if (!content) {
      element?.remove()
      this.#elements.delete(id)
      return
    }
    const place = this.#places.get(id) ?? { x: 24, y: 24, z: 0 }
    if (element) return element.show(content, place)
    const made = new NoteElement(id, this, content, place)
    this.#elements.set(id, made)
    // Who is at it may have been told before.
    made.busy(this.people().at.get(id) ?? null)
  }
}

function clamped({ x, y, z }: Place): Place {
  const within = (value: number, end: number) => Math.round(Math.min(Math.max(value, 0), end))
  return { x: within(x, WORLD.width - NOTE.width), y: within(y, WORLD.height - NOTE.height), z }
}

function content(value: unknown): Content {
  const { text, colour } = value as Content
  if (typeof text !== 'string' || !Number.isInteger(colour) || colour < 0) throw new TypeError('this is no note')
  return { text, colour }
}

function place(value: unknown): Place {
  const { x, y, z } = value as Place
  if (![x, y, z].every(Number.isFinite)) throw new TypeError('this is no place')
  return clamped({ x, y, z })
}
