// One map: its parts on the shards, and a page of its keys.

import type { KeyRow, MapAnswer, ServerAnswer } from '../answers'
import { post, Refused, read } from '../api'
import { button, cutJson, field, fill, make, section } from '../element'
import { bytes, count, moment } from '../format'
import { List } from '../paging'
import { facts, table } from '../table'
import { act, anchor, link, load, type View } from '../view'
import { exporting } from './maps'

/** Keys that are asked for so that each shard is, whatever it owns. */
const PROBES = 256

export function map(view: View): void {
  show(view, false)
}

/** `isLoaded`: all shards have just looked for it on the disk. */
function show(view: View, isLoaded: boolean): void {
  const { signal, query } = view
  const name = query.get('map') ?? ''
  const parts = make('div', {}, 'Asking…')
  const keys = make('div', { class: 'stack' })
  view.show(
    `Map ${name}`,
    make('div', { class: 'actions' }, exporting('Export this map', name, [name], signal), openKey(name)),
    parts,
    section('Keys', {}, keys),
  )
  void load(parts, signal, async () => {
    let answer: MapAnswer
    try {
      answer = await read<MapAnswer>('/admin/map', { map: name }, signal)
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error
      const mayBeOnDisk = !isLoaded && (await isOnDisk(signal))
      fill(
        keys,
        mayBeOnDisk ? loading(ASLEEP, view) : make('p', { class: 'empty' }, 'Open a key above to write the first.'),
      )
      const where = mayBeOnDisk ? 'No shard has it in memory.' : 'There is no such map. It is made by the first write.'
      return make('p', { class: 'empty' }, where)
    }
    const has = (...states: string[]) => answer.shards.some(({ state }) => states.includes(state))
    if (has('unloaded', 'loading')) fill(keys, loading(PARTLY, view))
    else if (!isLoaded && has('absent') && (await isOnDisk(signal)))
      fill(keys, listOf(name, view), loading(PERHAPS, view))
    else fill(keys, listOf(name, view))
    return partsOf(answer)
  })
}

function partsOf(answer: MapAnswer): HTMLElement[] {
  const { type, home, keys, cells, bytes: size, subscribers, shards } = answer
  return [
    make(
      'div',
      { class: 'panel' },
      facts([
        ['Type', type ?? 'none yet'],
        ['Keys', count(keys)],
        ['Tombstones', count(cells - keys)],
        ['Memory', bytes(size)],
        ['Subscribers', count(subscribers)],
        ['Home', `shard ${home}`],
      ]),
    ),
    section(
      'On the shards',
      {},
      table(
        'Parts of the map on the shards',
        [
          { title: 'Shard', cell: row => `shard ${row.shard}`, isName: true },
          { title: 'State', cell: row => row.state },
          { title: 'Keys', cell: row => count(row.keys) },
          { title: 'Cells', cell: row => count(row.cells) },
          { title: 'Memory', cell: row => bytes(row.bytes) },
          { title: 'Subscribers', cell: row => count(row.subscribers) },
          { title: 'Feeds', cell: row => count(row.feeds) },
        ],
        shards,
      ),
    ),
  ]
}

function listOf(name: string, view: View): HTMLElement[] {
  const prefix = make('input', { autocomplete: 'off' })
  const list = new List<KeyRow>({
    path: '/admin/keys',
    rows: 'keys',
    noun: ['key', 'keys'],
    signal: view.signal,
    columns: [
      { title: 'Key', cell: row => anchor(row.key, 'key', { map: name, key: row.key }), isName: true },
      { title: 'Value', cell: row => shownValue(row) },
      { title: 'Memory', cell: row => bytes(row.bytes) },
      { title: 'Changed', cell: row => moment(row.applied.unix_ms) },
      { title: 'Shard', cell: row => `${row.shard}` },
    ],
    empty: () => (prefix.value === '' ? 'The map has no keys.' : 'No key begins so.'),
  })
  const submit = (event: Event) => {
    event.preventDefault()
    void list.search({ map: name, prefix: prefix.value })
  }
  void list.search({ map: name, prefix: '' })
  const form = make(
    'form',
    { class: 'search', role: 'search', submit },
    field('Key begins with', prefix),
    make('div', { class: 'actions' }, make('button', {}, 'Search')),
  )
  return [form, list.element]
}

/** A value as far as a row has room. */
function shownValue({ is_live, is_cut, value }: KeyRow): HTMLElement {
  if (!is_live) return make('span', { class: 'soft' }, 'deleted')
  if (is_cut) return make('span', { class: 'soft' }, 'too long for a list')
  return cutJson(value)
}

const PARTLY = 'A shard has its part of this map on the disk only, so its keys cannot be listed yet.'
const ASLEEP = 'If there is such a map on the disk, it was not used since the start, or memory was short.'
const PERHAPS = 'Shards that have none of it in memory may have a part on the disk.'

/** Says what is not here, and loads it. */
function loading(says: string, view: View): HTMLElement {
  const name = view.query.get('map') ?? ''
  const pressed = button('Load the map', () => {
    void act(pressed, async () => {
      const keys = Array.from({ length: PROBES }, (_, place) => `${place}`)
      await post('/api/read', { map: name, keys }, view.signal)
      show(view, true)
      return `All shards have looked for ${name} on the disk.`
    })
  })
  const cost = 'To load it takes the memory that a client who reads it would cause.'
  return make('div', { class: 'empty' }, make('p', {}, `${says} ${cost}`), pressed)
}

async function isOnDisk(signal: AbortSignal): Promise<boolean> {
  return (await read<ServerAnswer>('/admin/server', {}, signal)).storage === 'disk'
}

/** Opens a key by its name, whether it is there or not. */
function openKey(name: string): HTMLElement {
  const key = make('input', {
    autocomplete: 'off',
    required: true,
    'aria-label': 'Name of a key',
    placeholder: 'name of a key',
  })
  const submit = (event: Event) => {
    event.preventDefault()
    location.hash = link('key', { map: name, key: key.value })
  }
  return make('form', { class: 'inline', submit }, key, make('button', { class: 'quiet' }, 'Open or write'))
}
