// One note: a handle to move it by pointer or arrow keys, its text, and a button that removes it.

import type { Board, Content, Place } from './board'
import { announce, byId, make } from './page'
import { COLOURS, type Person } from './people'

const STEP = 10
const LARGE_STEP = 50

const STEPS: { [key: string]: [x: number, y: number] } = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
}

export class NoteElement {
  readonly #root: HTMLLIElement
  readonly #handle = make('button', { type: 'button', className: 'handle' })
  readonly #text = make('textarea', { maxLength: 280, ariaLabel: 'Text of the note', placeholder: 'Write here' })
  readonly #remove = make('button', { type: 'button', className: 'remove' }, '×')
  readonly #who = make('span', { className: 'who' })
  #place: Place

  constructor(
    private readonly id: string,
    private readonly board: Board,
    content: Content,
    place: Place,
  ) {
    this.#place = place
    this.#root = make('li', {}, this.#handle, this.#remove, this.#text, this.#who)
    this.#handle.setAttribute('aria-describedby', 'move-hint')
    this.#text.addEventListener('input', () => board.edit(id, this.#text.value))
    this.#remove.addEventListener('click', () => board.remove(id))
    this.#root.addEventListener('focusin', () => board.attend(id))
    this.#root.addEventListener('focusout', () => board.attend(null))
    this.#handle.addEventListener('keydown', event => this.#key(event))
    this.#handle.addEventListener('pointerdown', event => this.#drag(event))
    this.show(content, place)
    byId('notes').append(this.#root)
  }

  show({ text, colour }: Content, place: Place): void {
    this.#place = place
    this.#root.className = `note c${colour % COLOURS}`
    this.#root.style.transform = `translate(${place.x}px, ${place.y}px)`
    this.#root.style.zIndex = String(Math.trunc(place.z))
    const name = text.trim().slice(0, 40) || 'empty note'
    this.#handle.ariaLabel = `Move: ${name}`
    this.#remove.ariaLabel = `Remove: ${name}`
    if (this.#text.value === text) return
    const { selectionStart, selectionEnd } = this.#text
    this.#text.value = text
    if (document.activeElement === this.#text) this.#text.setSelectionRange(selectionStart, selectionEnd)
  }

  /** Somebody else is at it. */
  busy(person: Person | null): void {
    this.#who.textContent = person?.name ?? ''
    this.#who.className = person ? `who c${person.colour % COLOURS}` : 'who'
    this.#root.classList.toggle('busy', person !== null)
  }

  focus(): void {
    this.#text.focus()
  }

  remove(): void {
    this.#root.remove()
  }

  #key(event: KeyboardEvent): void {
    const step = STEPS[event.key]
    if (!step) return
    event.preventDefault()
    const size = event.shiftKey ? LARGE_STEP : STEP
    const { x, y } = this.board.move(this.id, this.#place.x + step[0] * size, this.#place.y + step[1] * size)
    this.#root.scrollIntoView({ block: 'nearest', inline: 'nearest' })
    announce(`${x} from the left, ${y} from the top`)
  }

  #drag(event: PointerEvent): void {
    if (event.button !== 0) return
    const handle = this.#handle
    const { board } = this
    const from = board.at(event)
    const [dx, dy] = [this.#place.x - from.x, this.#place.y - from.y]
    const move = (event: PointerEvent) => {
      const { x, y } = board.at(event)
      board.reveal(board.move(this.id, x + dx, y + dy))
    }
    const end = () => {
      this.#root.classList.remove('dragged')
      handle.removeEventListener('pointermove', move)
      handle.removeEventListener('lostpointercapture', end)
    }
    handle.setPointerCapture(event.pointerId)
    this.#root.classList.add('dragged')
    handle.addEventListener('pointermove', move)
    handle.addEventListener('lostpointercapture', end)
  }
}
