// Connections: a search, and one of them.

import type { ClientAnswer, ClientRow } from '../answers'
import { post, Refused, read } from '../api'
import { Chart } from '../chart'
import { confirmed } from '../confirm'
import { button, field, fill, make, section } from '../element'
import { bytes, bytesPerSecond, count, duration, several } from '../format'
import { List, pager, searchForm } from '../paging'
import { facts, table } from '../table'
import { act, anchor, every, problem, type View } from '../view'

export function clients(view: View): void {
  const user = make('input', { autocomplete: 'off' })
  const address = make('input', { autocomplete: 'off', placeholder: '10.0.0.0/8' })
  const dialect = make(
    'select',
    {},
    ['', 'v1', 'v1-strict', 'synckit'].map(value => make('option', { value }, value === '' ? 'any' : value)),
  )
  const list = new List<ClientRow>({
    path: '/admin/clients',
    rows: 'clients',
    noun: ['connection', 'connections'],
    total: 'connections',
    signal: view.signal,
    columns: [
      {
        title: 'Connection',
        cell: row => anchor(row.connection, 'client', { connection: row.connection }),
        isName: true,
      },
      { title: 'User', cell: row => row.user ?? make('span', { class: 'soft' }, 'anonymous') },
      { title: 'Address', cell: row => row.address },
      { title: 'Dialect', cell: row => (row.phase === 'open' ? (row.dialect ?? '–') : row.phase) },
      { title: 'Connected', cell: row => duration(row.connected_ms) },
      { title: 'Silent', cell: row => duration(row.idle_ms) },
      { title: 'Received', cell: row => bytes(row.received_bytes) },
      { title: 'Sent', cell: row => bytes(row.sent_bytes) },
      { title: 'Queue', cell: row => bytes(row.outbox_bytes) },
      { title: 'Subs', cell: row => count(row.subscriptions) },
      { title: 'Channels', cell: row => count(row.channels) },
      { title: 'Rooms', cell: row => count(row.rooms) },
    ],
    empty: isSearch => (isSearch ? 'No connection is like that.' : 'Nobody is connected.'),
  })
  const form = searchForm(
    'clients',
    view.query,
    [
      { name: 'user', input: user, element: field('User, the whole name', user) },
      { name: 'address', input: address, element: field('Address or network', address) },
      { name: 'dialect', input: dialect, element: field('Dialect', dialect) },
    ],
    query => void list.search(query),
  )
  view.show('Clients', form, list.element)
}

const WAITS = {
  no: 'nothing',
  in_line: 'the next turn, as this one is full',
  own_end: 'the end of something of its own',
  rate: 'its rate',
} as const

export async function client(view: View): Promise<void> {
  const { signal, query } = view
  const connection = query.get('connection') ?? ''
  const cursors: (string | null)[] = [null]
  const figures = make('div', { class: 'panel' }, 'Asking…')
  const subscriptions = make('div')
  const channels = make('div')
  const actions = make('div', { class: 'actions' })
  const unixMs: number[] = []
  const columns: Record<string, (number | null)[]> = { received: [], sent: [], queue: [] }
  const rates = new Chart(
    {
      title: 'Bytes',
      isBinary: true,
      format: bytesPerSecond,
      lines: [
        { label: 'received', field: 'received' },
        { label: 'sent', field: 'sent' },
      ],
    },
    signal,
  )
  const queue = new Chart(
    { title: 'Queue', format: bytes, isBinary: true, lines: [{ label: 'waits to be sent', field: 'queue' }] },
    signal,
  )
  view.show(
    `Connection ${connection}`,
    actions,
    figures,
    make('div', { class: 'charts two' }, rates.element, queue.element),
    section('Subscriptions', {}, subscriptions),
    section('Channels', {}, channels),
  )
  let before: ClientAnswer | null = null
  let isGone = false
  await every(1000, signal, async () => {
    if (isGone) return
    try {
      const after = cursors.at(-1)
      const answer = await read<ClientAnswer>('/admin/client', { connection, limit: 50, after }, signal)
      if (!before) fill(actions, changes(answer, view))
      const ms = before ? answer.unix_ms - before.unix_ms : 0
      const rate = (name: 'received_bytes' | 'sent_bytes') =>
        before && ms > 0 ? Math.max(0, ((answer[name] - before[name]) * 1000) / ms) : null
      const [received, sent] = [rate('received_bytes'), rate('sent_bytes')]
      before = answer
      unixMs.push(answer.unix_ms)
      for (const [name, value] of Object.entries({ received, sent, queue: answer.outbox_bytes }))
        columns[name]?.push(value)
      fill(figures, figuresOf(answer, received, sent))
      for (const chart of [rates, queue]) chart.show(unixMs, columns, answer.unix_ms - 300_000)
      // Somebody may have turned the page meanwhile.
      if (after === cursors.at(-1)) fill(subscriptions, subscriptionsOf(answer, cursors))
      fill(
        channels,
        answer.channels_page.length === 0
          ? make('p', { class: 'empty' }, 'It is in no channel.')
          : make(
              'ul',
              { class: 'plain columns' },
              answer.channels_page.map(name => make('li', {}, anchor(name, 'channel', { channel: name }))),
            ),
        answer.channels > answer.channels_page.length &&
          make('p', { class: 'soft' }, `These are the first of ${answer.channels}.`),
      )
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && error.status === 0)) return
      isGone = error instanceof Refused && error.status === 404
      if (isGone) fill(actions)
      fill(
        figures,
        isGone
          ? make(
              'p',
              {},
              'This connection is gone. ',
              before?.user && anchor(`Others of ${before.user}`, 'clients', { user: before.user }),
            )
          : problem(error),
      )
    }
  })
}

function figuresOf(answer: ClientAnswer, received: number | null, sent: number | null): HTMLElement {
  const { user, roles, session } = answer
  return facts([
    ['User', user === null ? 'anonymous' : anchor(user, 'clients', { user })],
    ['Roles', roles.length === 0 ? '–' : roles.join(', ')],
    ['Session', session ?? '–'],
    ['Address', answer.address],
    ['Dialect', answer.dialect ?? '–'],
    ['Phase', answer.phase],
    ['Shard', `${answer.shard}`],
    ['Connected for', duration(answer.connected_ms)],
    ['Silent for', duration(answer.idle_ms)],
    ['Received', bytes(answer.received_bytes)],
    ['Sent', bytes(answer.sent_bytes)],
    ['Received, rate', bytesPerSecond(received)],
    ['Sent, rate', bytesPerSecond(sent)],
    ['Queue', bytes(answer.outbox_bytes)],
    ['Not read yet', bytes(answer.unread_bytes)],
    ['Sending', answer.is_sending ? 'yes' : 'no'],
    ['Paused', answer.is_paused ? 'yes' : 'no'],
    ['Waits for', WAITS[answer.waits] ?? answer.waits],
    ['Subscriptions', count(answer.subscriptions)],
    ['Behind', several(answer.behind, 'subscription')],
    ['Queries', count(answer.queries)],
    ['Rooms', count(answer.rooms)],
  ])
}

function subscriptionsOf(answer: ClientAnswer, cursors: (string | null)[]): (HTMLElement | false)[] {
  const { subscriptions_page: page, next } = answer
  if (page.length === 0 && cursors.length === 1) return [make('p', { class: 'empty' }, 'It subscribes to no map.')]
  return [
    (cursors.length > 1 || next !== null) && pager(`Page ${cursors.length}`, { cursors, next }),
    table(
      'Subscriptions',
      [
        { title: 'Map', cell: row => anchor(row.map, 'map', { map: row.map }), isName: true },
        {
          title: 'Filter',
          cell: row => (row.filter === null ? 'all of it' : make('code', {}, JSON.stringify(row.filter))),
        },
        { title: 'State', cell: row => (row.is_live ? 'live' : 'is being sent what it lacks') },
      ],
      page,
    ),
  ]
}

/** What may be done to a connection and to its user. */
function changes({ connection, user, address }: ClientAnswer, view: View): HTMLElement[] {
  const close = button(
    'Close this connection',
    () =>
      void kick(close, { connection }, `connection ${connection} of ${user ?? 'somebody anonymous'}, from ${address}`),
    {
      class: 'danger',
    },
  )
  if (user === null) return [close]
  return [close, ...changesOfUser(user, view.signal)]
}

export function changesOfUser(user: string, signal: AbortSignal): HTMLButtonElement[] {
  const all = button('Close all of this user', () => void kick(all, { user }, `all connections of ${user}`), {
    class: 'danger',
  })
  const revoke = button('Revoke tokens', () => void revokeTokens(revoke, user, signal), { class: 'danger' })
  return [all, revoke]
}

async function kick(
  pressed: HTMLButtonElement,
  whom: { connection: string } | { user: string },
  named: string,
): Promise<void> {
  const says = `It closes ${named}, with code 4003, which clients do not answer by coming back by themselves. Whoever may connect can connect again.`
  if (!(await confirmed({ title: 'Close?', says, action: 'Close' }))) return
  await act(pressed, async () => {
    const { kicked } = await post<{ kicked: number }>('/admin/kick', whom)
    return `Closed ${several(kicked, 'connection')}.`
  })
}

async function revokeTokens(pressed: HTMLButtonElement, user: string, signal: AbortSignal): Promise<void> {
  const says = `It revokes all tokens of ${user} that were issued until now, and closes the connections that showed one, with code 4002. This cannot be taken back; ${user} needs a new token. API keys are not touched.`
  if (!(await confirmed({ title: `Revoke the tokens of ${user}?`, says, action: 'Revoke' }))) return
  await act(pressed, async () => {
    await post('/admin/revoke', { user }, signal)
    return `Revoked all tokens of ${user} that were issued until now.`
  })
}
