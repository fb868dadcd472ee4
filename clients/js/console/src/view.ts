// A page while it is shown: where it is, what it was asked, and when it is over.

import { Refused } from './api'
import { button, byId, type Content, fill, make } from './element'
import { moment } from './format'

export interface View {
  /** What follows the `?` in the address. */
  query: URLSearchParams
  /** Aborted once another page is shown. */
  signal: AbortSignal
  /** Puts this in the place of the page, below its heading. */
  show: (title: string, ...content: Content[]) => void
}

export type Pages = Record<string, (view: View) => void | Promise<void>>

/** The address of a page in this document. */
export function link(page: string, parameters: Record<string, string | null | undefined> = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value)
  return `#/${page}${query.size === 0 ? '' : `?${query}`}`
}

export function anchor(
  text: string,
  page: string,
  parameters: Record<string, string | null | undefined> = {},
): HTMLElement {
  return make('a', { href: link(page, parameters) }, text)
}

/** Does it now and then, until the page is over; not while nobody looks. What fails is done again, and shown by whoever handles it. */
export async function every(ms: number, signal: AbortSignal, act: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    if (document.visibilityState === 'visible') await act()
    await pause(ms, signal)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(over => {
    const end = () => {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', seen)
      signal.removeEventListener('abort', end)
      over()
    }
    // Whoever looks again is not kept waiting.
    const seen = () => document.visibilityState === 'visible' && end()
    const timer = setTimeout(end, ms)
    document.addEventListener('visibilitychange', seen)
    signal.addEventListener('abort', end)
  })
}

/** Says that the server is gone, or, with `null`, that it is back. Nothing else of a page changes. */
export function lost(since: number | null): void {
  const box = byId('lost')
  if (since === null) {
    if (!box.hidden) {
      box.hidden = true
      box.textContent = ''
    }
  } else if (box.hidden) {
    box.hidden = false
    box.textContent = `The server has not answered since ${moment(since)}. What is below is from before. This page keeps asking.`
  }
}

/** Says what an action has come to, until the next or another page. */
export function outcome(text: string, isBad = false): void {
  const box = byId('outcome')
  box.hidden = text === ''
  box.dataset.bad = `${isBad}`
  box.textContent = text
}

/** What stands where an answer would. */
export function problem(error: unknown, again?: () => void): HTMLElement {
  const refused = error instanceof Refused ? error : new Refused(0, 'fault', `This page has a fault: ${error}`)
  const code = refused.status === 0 ? '' : ` (${refused.status} ${refused.code})`
  return make(
    'div',
    { class: 'problem' },
    make('p', {}, make('strong', {}, refused.message), make('span', { class: 'soft' }, code)),
    refused.advice !== '' && make('p', {}, refused.advice),
    again && button('Try again', again, { class: 'quiet' }),
  )
}

/** Loads what a place shows, and shows why not where that fails. */
export async function load(place: HTMLElement, signal: AbortSignal, act: () => Promise<Content>): Promise<void> {
  place.setAttribute('aria-busy', 'true')
  try {
    const content = await act()
    if (!signal.aborted) fill(place, content)
  } catch (error) {
    if (!signal.aborted)
      fill(
        place,
        problem(error, () => void load(place, signal, act)),
      )
  } finally {
    place.removeAttribute('aria-busy')
  }
}

/** Does what a button is for, once at a time, and says what came of it. */
export async function act(pressed: HTMLButtonElement | null, change: () => Promise<string>): Promise<boolean> {
  if (pressed) pressed.disabled = true
  try {
    outcome(await change())
    return true
  } catch (error) {
    const { message, advice } = error instanceof Refused ? error : { message: `${error}`, advice: '' }
    outcome(`${message} ${advice}`.trim(), true)
    return false
  } finally {
    if (pressed) pressed.disabled = false
  }
}
