// A list of which the server has the pages: one of them is here at a time.

import type { NowAnswer, Paged } from './answers'
import { read } from './api'
import { button, type Content, fill, make, say } from './element'
import { moment, several } from './format'
import { type Column, table } from './table'
import { link, problem } from './view'

/** Rows of a page. */
const LIMIT = 50

export interface ListOf<T> {
  path: string
  /** The field of an answer that has the rows. */
  rows: string
  noun: [one: string, many: string]
  columns: Column<T>[]
  /** What stands there where nothing is found; `isSearch` where something was searched for. */
  empty: (isSearch: boolean) => Content
  /** The figure of `/admin/now` that counts all of them. */
  total?: string
  signal: AbortSignal
}

export class List<T> {
  readonly element: HTMLElement
  #query: Record<string, string | undefined> = {}
  /** Cursors of the pages before this one, and of this one. */
  #cursors: (string | null)[] = [null]
  #stop: AbortController | null = null
  readonly #body = make('div', { class: 'rows' })
  readonly #status = make('p', { class: 'soft status' })
  readonly #back = button('Back', () => this.#turn(-1), { class: 'quiet' })
  readonly #next = button('Next', () => this.#turn(1), { class: 'quiet' })
  #after: string | null = null

  constructor(private readonly of: ListOf<T>) {
    const refresh = button('Refresh', () => void this.#load(), { class: 'quiet' })
    const pager = make('div', { class: 'pager' }, this.#status, this.#back, this.#next, refresh)
    this.element = make('div', { class: 'paged' }, pager, this.#body)
  }

  /** Begins at the first page of what is asked for. */
  search(query: Record<string, string | undefined>): Promise<void> {
    this.#query = query
    this.#cursors = [null]
    return this.#load()
  }

  #turn(by: 1 | -1): void {
    if (by === 1) this.#cursors.push(this.#after)
    else this.#cursors.pop()
    void this.#load().then(() => {
      // The button that was pressed may have nothing more to do.
      const pressed = by === 1 ? this.#next : this.#back
      if (pressed.disabled) (by === 1 ? this.#back : this.#next).focus()
    })
  }

  async #load(): Promise<void> {
    this.#stop?.abort()
    const stop = new AbortController()
    this.#stop = stop
    const signal = AbortSignal.any([stop.signal, this.of.signal])
    this.#body.setAttribute('aria-busy', 'true')
    this.#back.disabled = this.#next.disabled = true
    try {
      await this.#gather(signal)
    } catch (error) {
      if (signal.aborted) return
      say(this.#status, '')
      fill(
        this.#body,
        problem(error, () => void this.#load()),
      )
    }
    if (this.#stop === stop) this.#body.removeAttribute('aria-busy')
  }

  /** Goes from one page of the server to the next until there are rows enough, as a search for what is rare finds few on each. */
  async #gather(signal: AbortSignal): Promise<void> {
    const { path, rows: field, noun, total } = this.of
    const rows: T[] = []
    let after = this.#cursors.at(-1) ?? null
    let lookedAt = 0
    let isStopped = false
    const counted = total === undefined ? null : read<NowAnswer>('/admin/now', {}, signal).catch(() => null)
    do {
      const answer = await read<Paged & Record<string, T[]>>(
        path,
        { ...this.#query, limit: LIMIT - rows.length, after },
        signal,
      )
      rows.push(...(answer[field] as T[]))
      lookedAt += answer.looked_at
      after = answer.next
      if (after === null || rows.length >= LIMIT) break
      const stopping = button('Stop', () => (isStopped = true), { class: 'quiet' })
      fill(
        this.#status,
        `Searching: ${several(lookedAt, 'place')} looked at, ${several(rows.length, ...noun)} found. `,
        stopping,
      )
    } while (!isStopped)
    if (signal.aborted) return
    this.#after = after
    this.#show(rows, isStopped, lookedAt)
    const all = (await counted)?.sum[total ?? '']
    if (signal.aborted || typeof all !== 'number') return
    say(this.#status, `${this.#status.textContent} ${several(all, ...noun)} in all.`)
  }

  #show(rows: T[], isStopped: boolean, lookedAt: number): void {
    const { noun, columns, empty } = this.of
    const isSearch = Object.values(this.#query).some(value => value !== undefined && value !== '')
    const page = this.#cursors.length
    const where = page > 1 || this.#after !== null ? `Page ${page}: ` : ''
    const stopped = isStopped ? ` Stopped after ${several(lookedAt, 'place')}; Next goes on.` : ''
    say(this.#status, `${where}${several(rows.length, ...noun)}, as of ${moment(Date.now())}.${stopped}`)
    this.#back.disabled = page === 1
    this.#next.disabled = this.#after === null
    const nothing = make('div', { class: 'empty' }, page > 1 ? 'There are no more.' : empty(isSearch))
    fill(this.#body, rows.length === 0 ? nothing : table(`${noun[1]}, page ${page}`, columns, rows))
  }
}

interface Pages<C> {
  /** Of the pages before this one, and of this one. */
  cursors: C[]
  /** That of the next page, `null` after the last one. */
  next: C | null
  /** Draws the page of the last cursor, and this anew; without it, somebody else does so. */
  again?: () => void
  names?: [back: string, next: string]
}

/** What turns the pages of something that is drawn anew with each. A button turns one page, however often it is pressed before that. */
export function pager<C>(said: string, { cursors, next, again, names = ['Back', 'Next'] }: Pages<C>): HTMLElement {
  const turning = (name: string, isEnd: boolean, turn: () => void) => {
    const pressed = button(
      name,
      () => {
        pressed.disabled = true
        turn()
        again?.()
      },
      { class: 'quiet', disabled: isEnd },
    )
    return pressed
  }
  return make(
    'div',
    { class: 'pager' },
    make('p', { class: 'soft status' }, said),
    turning(names[0], cursors.length === 1, () => cursors.pop()),
    turning(names[1], next === null, () => next !== null && cursors.push(next)),
    again && button('Refresh', again, { class: 'quiet' }),
  )
}

/** A form that searches a list, and keeps in the address what was searched for. */
export function searchForm(
  page: string,
  query: URLSearchParams,
  fields: { name: string; element: HTMLElement; input: HTMLInputElement | HTMLSelectElement }[],
  search: (query: Record<string, string | undefined>) => void,
): HTMLFormElement {
  for (const { name, input } of fields) input.value = query.get(name) ?? ''
  const asked = () => Object.fromEntries(fields.map(({ name, input }) => [name, input.value.trim() || undefined]))
  const submit = (event: Event) => {
    event.preventDefault()
    history.replaceState(null, '', link(page, asked()))
    search(asked())
  }
  // The event comes once all fields are empty.
  const reset = () => setTimeout(() => form.requestSubmit())
  const form: HTMLFormElement = make(
    'form',
    { class: 'search', role: 'search', submit, reset },
    fields.map(({ element }) => element),
    make(
      'div',
      { class: 'actions' },
      make('button', {}, 'Search'),
      make('button', { type: 'reset', class: 'quiet' }, 'Clear'),
    ),
  )
  search(asked())
  return form
}
