// Elements of the page: those that index.html has, and new ones.

export type Content = Node | string | null | undefined | false | Content[]
type Handler = (event: Event) => void
type Attributes = Record<string, string | number | boolean | Handler | null | undefined>

export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id)
  if (!element) throw new Error(`index.html has no #${id}`)
  return element as E
}

/**
 * A new element. Attributes that are `false`, `null` or `undefined` are left out, `true` is one without a value, and functions
 * are listeners for the event of that name. All text is text: nothing is read as HTML.
 */
export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...content: Content[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(attribute, value)
    else if (value === true) element.setAttribute(attribute, '')
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(attribute, `${value}`)
  }
  fill(element, ...content)
  return element
}

/** Puts this in the place of all that an element has. */
export function fill(element: Element, ...content: Content[]): void {
  const nodes = content.flat(9) as (Node | string | null | undefined | false)[]
  element.replaceChildren(
    ...nodes.filter((node): node is Node | string => node !== null && node !== undefined && node !== false),
  )
}

/** Sets a text where it is another, so that nothing is selected anew or read again. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

let labels = 0

/** A label above the field that it is for, and a remark below it. */
export function field(label: string, input: HTMLElement, remark?: string): HTMLElement {
  input.id ||= `field-${++labels}`
  const hint = remark === undefined ? null : make('span', { class: 'soft hint', id: `${input.id}-hint` }, remark)
  if (hint) input.setAttribute('aria-describedby', hint.id)
  return make('div', { class: 'field' }, make('label', { for: input.id }, label), input, hint)
}

export function button(text: string, click: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return make('button', { type: 'button', click, ...attributes }, text)
}

/** A value in a row, as far as that has room, and all of it to who points at it. */
export function cutJson(value: unknown): HTMLElement {
  const text = JSON.stringify(value)
  return make('code', { class: 'cut', title: text }, text)
}

export const INVALID = Symbol('invalid')

/** What a field has as JSON, or `INVALID` after it has told why not. */
export function jsonOf(input: HTMLInputElement | HTMLTextAreaElement): unknown {
  input.setCustomValidity('')
  try {
    return JSON.parse(input.value) as unknown
  } catch (error) {
    input.setCustomValidity(`This is no JSON: ${(error as Error).message}`)
    input.reportValidity()
    input.addEventListener('input', () => input.setCustomValidity(''), { once: true })
    return INVALID
  }
}

/** A part of a page under a heading. */
export function section(title: string, attributes: Attributes = {}, ...content: Content[]): HTMLElement {
  const id = `part-${++labels}`
  return make('section', { ...attributes, 'aria-labelledby': id }, make('h2', { id }, title), ...content)
}
