// Maps in memory: a search, and the export of all.

import type { MapRow } from '../answers'
import { ask } from '../api'
import { button, field, make } from '../element'
import { bytes, count, textOf } from '../format'
import { List, searchForm } from '../paging'
import { act, anchor, link, outcome, type View } from '../view'

export function maps(view: View): void {
  const prefix = make('input', { autocomplete: 'off' })
  const type = make(
    'select',
    {},
    ['', 'lww', 'or', 'counter'].map(value => make('option', { value }, value === '' ? 'any' : value)),
  )
  const least = (name: string, title: string) => {
    const input = make('input', { type: 'number', min: 0, step: 1, class: 'short' })
    return { name, input, element: field(title, input) }
  }
  const list = new List<MapRow>({
    path: '/admin/maps',
    rows: 'maps',
    noun: ['map', 'maps'],
    total: 'maps',
    signal: view.signal,
    columns: [
      { title: 'Map', cell: row => anchor(row.map, 'map', { map: row.map }), isName: true },
      { title: 'Type', cell: row => row.type ?? '–' },
      { title: 'Keys', cell: row => count(row.keys) },
      { title: 'Cells', cell: row => count(row.cells) },
      { title: 'Memory', cell: row => bytes(row.bytes) },
      { title: 'Subscribers', cell: row => count(row.subscribers) },
      { title: 'Home', cell: row => `shard ${row.home}` },
    ],
    empty: isSearch =>
      isSearch
        ? 'No map in memory is like that. One that was evicted can be opened by its whole name.'
        : 'There are no maps in memory. The first write or subscription makes one.',
  })
  const form = searchForm(
    'maps',
    view.query,
    [
      { name: 'prefix', input: prefix, element: field('Name begins with', prefix) },
      { name: 'type', input: type, element: field('Type', type) },
      least('min_keys', 'Keys, at least'),
      least('min_bytes', 'Bytes, at least'),
      least('min_subscribers', 'Subscribers, at least'),
    ],
    query => void list.search(query),
  )
  view.show(
    'Maps',
    form,
    make('div', { class: 'bar' }, open(), exporting('Export all maps', 'annulus', [], view.signal)),
    list.element,
  )
}

/** Opens a map by its name, listed or not. */
function open(): HTMLElement {
  const name = make('input', {
    autocomplete: 'off',
    required: true,
    'aria-label': 'Name of a map',
    placeholder: 'name of a map',
  })
  const submit = (event: Event) => {
    event.preventDefault()
    location.hash = link('map', { map: name.value })
  }
  return make('form', { class: 'inline', submit }, name, make('button', { class: 'quiet' }, 'Open'))
}

/** A button that has the browser keep the lines of an export. */
export function exporting(text: string, name: string, named: string[], signal: AbortSignal): HTMLButtonElement {
  const pressed = button(
    text,
    () =>
      void act(pressed, async () => {
        const query = named.map(map => `map=${encodeURIComponent(map)}`).join('&')
        const response = await ask(`/admin/export${query === '' ? '' : `?${query}`}`, { signal })
        const parts: BlobPart[] = []
        let size = 0
        try {
          const reader = response.body?.getReader()
          for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
            parts.push(part.value)
            size += part.value.length
            outcome(`Exporting: ${textOf(bytes(size))} so far.`)
          }
        } catch {
          throw new Error(`The export broke off after ${textOf(bytes(size))}; nothing was kept. The log says why.`)
        }
        const url = URL.createObjectURL(new Blob(parts, { type: 'application/x-ndjson' }))
        const file = `${name.replace(/[^\w.-]+/g, '_')}.ndjson`
        make('a', { href: url, download: file }).click()
        setTimeout(() => URL.revokeObjectURL(url), 60_000)
        return `Exported ${textOf(bytes(size))} as ${file}.`
      }),
    { class: 'quiet' },
  )
  return pressed
}
