// One key of a map: its state with stamps, who holds it, and what may be done to it.

import type { CounterState, KeyAnswer, LwwState, MapAnswer, MapType, OrState, WriteAnswer } from '../answers'
import { post, Refused, read } from '../api'
import { confirmed, type Question } from '../confirm'
import { button, type Content, cutJson, field, INVALID, jsonOf, make, section } from '../element'
import { bytes, count, moment, sentence, several } from '../format'
import { facts, table } from '../table'
import { act, anchor, load, type View } from '../view'

interface At {
  map: string
  key: string
  signal: AbortSignal
  /** Shows the key as it is now. */
  again: () => void
}

export function key(view: View): void {
  const { signal, query } = view
  const [map, name] = [query.get('map') ?? '', query.get('key') ?? '']
  const place = make('div', {}, 'Asking…')
  const at: At = { map, key: name, signal, again: () => void load(place, signal, () => shown(at)) }
  view.show(`Key ${name}`, make('p', {}, 'of the map ', anchor(map, 'map', { map })), place)
  at.again()
}

async function shown(at: At): Promise<Content> {
  const { map, key, signal } = at
  let answer: KeyAnswer
  try {
    answer = await read<KeyAnswer>('/admin/key', { map, key }, signal)
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error
    const type = await typeOf(at)
    return [make('p', { class: 'empty' }, 'There was never anything under this key.'), editor(at, type, null)]
  }
  const { type, state, applied } = answer
  return [
    make(
      'div',
      { class: 'actions' },
      button('Refresh', at.again, { class: 'quiet' }),
      answer.is_live && deleting(at, answer),
    ),
    make(
      'div',
      { class: 'panel' },
      facts([
        ['Type', type],
        ['State', answer.is_live ? 'live' : 'deleted'],
        ['Owner', `shard ${answer.shard}`],
        ['Memory', bytes(answer.bytes)],
        ['Changed here', `${moment(applied.unix_ms)} + ${applied.logical}`],
      ]),
    ),
    section('State', {}, stateOf(at, type, state, answer.is_live)),
    editor(at, type, answer),
    section(
      'Who holds it',
      {},
      answer.holders.length === 0
        ? make('p', { class: 'empty' }, 'Nobody subscribes to this map.')
        : table(
            'Shards with subscribers of the map',
            [
              { title: 'Shard', cell: row => `shard ${row.shard}`, isName: true },
              { title: 'Subscribers', cell: row => count(row.subscribers) },
            ],
            answer.holders,
          ),
    ),
  ]
}

async function typeOf({ map, signal }: At): Promise<MapType | null> {
  try {
    return (await read<MapAnswer>('/admin/map', { map }, signal)).type
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null
    throw error
  }
}

function stateOf(at: At, type: MapType, state: KeyAnswer['state'], isLive: boolean): Content {
  if (type === 'lww') return lww(state as LwwState, isLive)
  if (type === 'or') return tags(at, state as OrState)
  return slots(state as CounterState)
}

function lww({ value, stamp, expires_unix_ms }: LwwState, isLive: boolean): Content {
  const ends = expires_unix_ms === null ? 'never' : moment(expires_unix_ms)
  return [
    isLive && make('pre', { class: 'value', tabindex: 0, 'aria-label': 'Value' }, JSON.stringify(value, null, 2)),
    facts([
      ['Stamp', make('code', {}, stamp)],
      ['Ends by itself', ends],
    ]),
  ]
}

function tags(at: At, { tags, live, removed, is_cut }: OrState): Content {
  const remove = (tag: string, value: unknown) => {
    const pressed = button(
      'Remove',
      () =>
        void change(
          at,
          pressed,
          { op: 'remove', tags: [tag] },
          {
            title: 'Remove this value?',
            says: `It removes the tag ${tag}, with the value ${brief(value)}, from key ${at.key} of map ${at.map}, for everybody.`,
            action: 'Remove',
            isDanger: true,
          },
        ),
      { class: 'danger', 'aria-label': `Remove the tag ${tag}` },
    )
    return pressed
  }
  return [
    is_cut && make('p', { class: 'soft' }, `These are the first of ${several(live, 'value')}.`),
    tags.length === 0
      ? make('p', { class: 'empty' }, 'It has no value.')
      : table(
          'Tagged values',
          [
            { title: 'Value', cell: row => cutJson(row.value), isName: true },
            { title: 'Tag', cell: row => make('code', {}, row.tag) },
            { title: 'Stamp', cell: row => make('code', {}, row.stamp) },
            { title: 'Action', cell: row => remove(row.tag, row.value) },
          ],
          tags,
        ),
    removed.length > 0 &&
      make(
        'details',
        {},
        make(
          'summary',
          {},
          `${several(removed.length, 'removed tag')} that ${removed.length === 1 ? 'is' : 'are'} remembered`,
        ),
        table(
          'Removed tags',
          [
            { title: 'Tag', cell: row => make('code', {}, row.tag), isName: true },
            { title: 'Removed', cell: row => moment(row.removed.unix_ms) },
          ],
          removed,
        ),
      ),
  ]
}

function slots({ value, slots, absorbed, is_cut }: CounterState): Content {
  return [
    facts([
      ['Value', { number: value, unit: '' }],
      ['Absorbed', { number: absorbed, unit: '' }],
    ]),
    is_cut && make('p', { class: 'soft' }, 'These are the first slots.'),
    table(
      'Slots of the counter',
      [
        { title: 'Replica', cell: row => row.node, isName: true },
        { title: 'Added', cell: row => ({ number: row.added, unit: '' }) },
        { title: 'Subtracted', cell: row => ({ number: row.removed, unit: '' }) },
        { title: 'Changed', cell: row => moment(row.applied.unix_ms) },
      ],
      slots,
    ),
  ]
}

/** A form that writes; of a map without a type the first write says which. */
function editor(at: At, type: MapType | null, answer: KeyAnswer | null): HTMLElement {
  const isCounter = type === 'counter'
  const value = isCounter
    ? make('input', { inputmode: 'numeric', required: true, pattern: '-?[0-9]+', class: 'short' })
    : make('textarea', { rows: 6, spellcheck: false, required: true })
  const current = answer?.is_live && type === 'lww' ? (answer.state as LwwState) : null
  if (current) value.value = JSON.stringify(current.value, null, 2)
  const titles = { lww: 'Write', or: 'Add a value', counter: 'Add a number' }
  const submit = async (event: Event) => {
    event.preventDefault()
    const op = operation(type, value)
    if (!op) return
    const stale = answer && type === 'lww' ? await isChanged(at, answer) : false
    const isExpiring = current !== null && current.expires_unix_ms !== null
    const says = [
      make(
        'p',
        {},
        `It writes ${brief(op.value ?? op.by)} to key ${at.key} of map ${at.map}. Whoever subscribes to the map is told at once.`,
      ),
      stale &&
        make(
          'p',
          { class: 'bad' },
          'The key has changed since it was shown here. What somebody else has written meanwhile will be lost.',
        ),
      isExpiring && make('p', {}, 'The key now ends by itself; with this value it will not.'),
    ]
    await change(at, submitting, op, {
      title: `${titles[type ?? 'lww']}?`,
      says,
      action: titles[type ?? 'lww'],
      isDanger: stale,
    })
  }
  const submitting = make('button', {}, `${titles[type ?? 'lww']}…`)
  const remark = isCounter ? 'A whole number; below zero it is taken away.' : 'As JSON: a text stands in quotes.'
  return section(
    titles[type ?? 'lww'],
    { class: 'panel' },
    make(
      'form',
      { submit: event => void submit(event) },
      field(isCounter ? 'By how much' : 'Value', value, remark),
      make('div', { class: 'actions' }, submitting),
    ),
  )
}

interface Operation {
  op: string
  value?: unknown
  by?: number
  tags?: string[]
  map_type?: MapType
}

/** What a form says, or nothing after it has told why not. */
function operation(type: MapType | null, input: HTMLInputElement | HTMLTextAreaElement): Operation | null {
  if (type === 'counter') return { op: 'increment', by: Number(input.value) }
  const value = jsonOf(input)
  return value === INVALID ? null : { op: type === 'or' ? 'add' : 'set', value }
}

async function isChanged({ map, key, signal }: At, before: KeyAnswer): Promise<boolean> {
  try {
    const now = await read<KeyAnswer>('/admin/key', { map, key }, signal)
    return (now.state as LwwState).stamp !== (before.state as LwwState).stamp
  } catch {
    // The write will say what is wrong.
    return false
  }
}

function deleting(at: At, { type }: KeyAnswer): HTMLButtonElement {
  const pressed = button(
    'Delete this key',
    () =>
      void change(
        at,
        pressed,
        { op: 'delete', map_type: type },
        {
          title: 'Delete this key?',
          says: `It deletes key ${at.key} of map ${at.map}, for everybody: whoever subscribes to the map is told at once. There is no way back but to write it again.`,
          action: 'Delete',
        },
      ),
    { class: 'danger' },
  )
  return pressed
}

async function change(at: At, pressed: HTMLButtonElement, op: Operation, question: Question): Promise<void> {
  if (!(await confirmed(question))) return
  const isDone = await act(pressed, async () => {
    const ops = [{ map: at.map, key: at.key, ...op }]
    const { level, rejected, timeout } = await post<WriteAnswer>('/api/write', { ops, ack: 'durable' })
    const refused = rejected?.[0]
    if (refused) throw new Refused(400, refused.code, sentence(refused.message))
    if (timeout) return 'Done in memory; the disk has not said yet that it has it.'
    return level === 'durable' ? 'Done, and on the disk.' : 'Done, in memory.'
  })
  if (isDone) at.again()
}

/** A value as far as a sentence has room. */
function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? ''
  return text.length > 120 ? `${text.slice(0, 120)}…` : text
}
