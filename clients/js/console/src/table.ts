// Tables. On a narrow screen a row is a block of labelled values (style in parts.css).

import { type Content, make } from './element'
import type { Figure } from './format'

export interface Column<T> {
  title: string
  cell: (row: T) => Figure | Content
  /** Names a row: it heads it. One column of a table does. */
  isName?: boolean
}

const isFigure = (cell: Figure | Content): cell is Figure =>
  typeof cell === 'object' && cell !== null && !Array.isArray(cell) && !(cell instanceof Node)

/** A number and its unit, each in a place of its own. */
function shownFigure({ number, unit }: Figure): Content {
  return [make('span', { class: 'n' }, number), unit !== '' && [' ', make('span', { class: 'u' }, unit)]]
}

/** `caption` is for who hears the page; `isWide` keeps columns, and scrolls, where there is no room. */
export function table<T>(caption: string, columns: Column<T>[], rows: T[], isWide = false): HTMLElement {
  // A column is one of figures where its cells are.
  const first = rows[0]
  const areFigures = columns.map(column => first !== undefined && isFigure(column.cell(first)))
  const head = columns.map(({ title }, place) =>
    make('th', { scope: 'col', role: 'columnheader', class: areFigures[place] ? 'figure' : null }, title),
  )
  const body = rows.map(row => {
    const cells = columns.map(({ title, cell, isName }) => {
      const content = cell(row)
      const shown = isFigure(content) ? shownFigure(content) : content
      if (isName) return make('th', { scope: 'row', role: 'rowheader' }, shown)
      return make(
        'td',
        { role: 'cell', 'data-label': title, class: isFigure(content) ? 'figure' : null },
        make('span', { class: 'value' }, shown),
      )
    })
    return make('tr', { role: 'row' }, cells)
  })
  // Roles are named, as blocks in the place of rows would lose them.
  const made = make(
    'table',
    { role: 'table', class: isWide ? 'wide' : 'list' },
    make('caption', { class: 'hidden' }, caption),
    make('thead', { role: 'rowgroup' }, make('tr', { role: 'row' }, head)),
    make('tbody', { role: 'rowgroup' }, body),
  )
  return isWide ? make('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption }, made) : made
}

/** Figures with their names, as one reads them on a page about one thing. */
export function facts(pairs: [string, Figure | Content][]): HTMLElement {
  const shown = pairs.map(([name, value]) =>
    make('div', {}, make('dt', {}, name), make('dd', {}, isFigure(value) ? shownFigure(value) : value)),
  )
  return make('dl', { class: 'facts' }, shown)
}
