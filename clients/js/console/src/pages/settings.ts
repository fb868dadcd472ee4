// Settings: those that count at once when they are changed, and the rest with where they come from.

import type { Setting } from '../answers'
import { post, read } from '../api'
import { confirmed } from '../confirm'
import { type Content, field, make, say, section } from '../element'
import { bytes, duration, micros, several, textOf as shown } from '../format'
import { table } from '../table'
import { act, load, type View } from '../view'

interface SettingsAnswer {
  settings: Setting[]
}

const SOURCES: Record<Setting['source'], string> = {
  default: 'default',
  flag: 'flag',
  variable: 'variable',
  file: 'file',
  changed: 'changed here',
}

export function settings({ signal, show: showPage }: View): void {
  const place = make('div', {}, 'Asking…')
  const words = make('input', { autocomplete: 'off', input: () => filter(place, words.value) })
  const form = make(
    'form',
    { class: 'search', role: 'search', submit: event => event.preventDefault() },
    field('Name has', words),
  )
  showPage('Settings', form, place)
  const again = () =>
    void load(place, signal, async () => {
      const answer = await read<SettingsAnswer>('/admin/settings', {}, signal)
      return listed(answer, again)
    }).then(() => filter(place, words.value))
  again()
}

function listed({ settings }: SettingsAnswer, again: () => void): Content {
  const hot = settings.filter(setting => setting.is_hot)
  const rest = settings.filter(setting => !setting.is_hot)
  const inputs = new Map(hot.map(setting => [setting, inputOf(setting)]))
  const meanings = new Map(hot.map(setting => [setting, make('span', { class: 'soft' })]))
  const isChanged = ([setting, input]: [Setting, HTMLInputElement]) => input.value.trim() !== textOf(setting.value)
  const changes = () => [...inputs].filter(isChanged)
  const status = make('p', { class: 'soft status' })
  const save = make('button', {}, 'Change…')
  const undo = make('button', { type: 'reset', class: 'quiet' }, 'Undo')
  const mark = () => {
    for (const [setting, input] of inputs) {
      const said = meanings.get(setting)
      if (said) say(said, meaning(setting.name, input.value.trim()))
      input.classList.toggle('changed', isChanged([setting, input]))
    }
    const changed = changes()
    save.disabled = undo.disabled = changed.length === 0
    say(
      status,
      changed.length === 0
        ? 'Changed settings last until the server ends; an empty one goes back to what it was at the start.'
        : `${several(changed.length, 'setting')} to be changed.`,
    )
  }
  for (const input of inputs.values()) input.addEventListener('input', mark)
  const submit = async (event: Event) => {
    event.preventDefault()
    const changed = changes()
    if (changed.length === 0) return
    const says = [
      make('p', {}, 'These count at once, until the server ends or they are changed again:'),
      make(
        'ul',
        { class: 'plain' },
        changed.map(([{ name, value }, input]) =>
          make(
            'li',
            {},
            make('code', {}, name),
            `: ${textOf(value) || 'none'} → ${input.value.trim() || 'as at the start'}`,
          ),
        ),
      ),
    ]
    if (
      !(await confirmed({
        title: `Change ${several(changed.length, 'setting')}?`,
        says,
        action: 'Change',
        isDanger: false,
      }))
    )
      return
    const asked = Object.fromEntries(
      changed.map(([setting, input]) => [setting.name, typedValue(setting, input.value.trim())]),
    )
    const isDone = await act(save, async () => {
      await post<SettingsAnswer>('/admin/settings', asked)
      return `Changed ${changed.map(([{ name }]) => name).join(', ')}.`
    })
    if (isDone) again()
  }
  const reset = () => setTimeout(mark)
  const name = (row: Setting) => make('code', { class: 'name' }, row.name)
  const source = (row: Setting) =>
    row.source === 'changed'
      ? `${SOURCES.changed}; was ${textOf(row.was) || 'none'}`
      : (SOURCES[row.source] ?? row.source)
  mark()
  return [
    section(
      'Can be changed now',
      {},
      make(
        'form',
        { submit: event => void submit(event), reset },
        table<Setting>(
          'Settings that can be changed now',
          [
            { title: 'Name', cell: name, isName: true },
            { title: 'Value', cell: row => inputs.get(row) ?? null },
            { title: 'That is', cell: row => meanings.get(row) ?? null },
            { title: 'From', cell: source },
          ],
          hot,
        ),
        make('div', { class: 'pager sticky' }, status, undo, save),
      ),
    ),
    section(
      'Need a restart',
      {},
      table<Setting>(
        'Settings that need a restart',
        [
          { title: 'Name', cell: name, isName: true },
          { title: 'Value', cell: row => make('code', { class: 'wrap' }, textOf(row.value) || '–') },
          { title: 'From', cell: source },
        ],
        rest,
      ),
    ),
  ]
}

function inputOf({ name, value }: Setting): HTMLInputElement {
  const isNumber = typeof value === 'number'
  const attributes = isNumber ? { inputmode: 'numeric', class: 'short figure' } : { class: 'short' }
  // The attribute is what Undo goes back to.
  return make('input', {
    ...attributes,
    autocomplete: 'off',
    spellcheck: false,
    'aria-label': name,
    value: textOf(value),
  })
}

/** A number with a unit in its name, as people say it. */
function meaning(name: string, text: string): string {
  if (!/^\d+$/.test(text) || text === '0') return ''
  const value = Number(text)
  if (/-bytes(-per-second)?$/.test(name)) return shown(bytes(value, name.endsWith('-per-second') ? '/s' : ''))
  if (name.endsWith('-ms')) return shown(duration(value))
  return name.endsWith('-us') ? shown(micros(value)) : ''
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (Array.isArray(value)) return value.map(textOf).join(', ')
  return typeof value === 'object' ? JSON.stringify(value) : `${value}`
}

/** What was typed, as a value of the kind that is there. */
function typedValue({ value }: Setting, typed: string): unknown {
  if (typed === '') return null
  if (typeof value === 'boolean') return typed === 'true'
  return typeof value !== 'string' && /^-?\d+(\.\d+)?$/.test(typed) ? Number(typed) : typed
}

function filter(place: HTMLElement, words: string): void {
  for (const row of place.querySelectorAll<HTMLElement>('tbody tr')) {
    row.hidden = !row.querySelector('.name')?.textContent?.includes(words.trim())
  }
}
