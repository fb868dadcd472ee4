// What is on the page, by its id.

export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id)
  if (!element) throw new Error(`index.html has no #${id}`)
  return element as E
}

export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  fields: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(name), fields)
  element.append(...children)
  return element
}

/** Has screen readers say it. */
export function announce(text: string): void {
  byId('live').textContent = text
}
