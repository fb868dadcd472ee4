// What the server does, now and over the last hour.

import type { CheckAnswer, ServerAnswer } from '../answers'
import { post, read } from '../api'
import { Chart, type ChartOf, noSeconds } from '../chart'
import { button, type Content, fill, make, section } from '../element'
import { bytes, bytesPerSecond, count, duration, micros, moment, perSecond, several, textOf } from '../format'
import { Hour } from '../hour'
import { type Column, facts, table } from '../table'
import { act, every, load, type View } from '../view'

const quantiles = (name: string) => [
  { label: 'p50', field: `${name}_p50_us` },
  { label: 'p99', field: `${name}_p99_us` },
  { label: 'p999', field: `${name}_p999_us` },
]

/** In their order; those of the process alone come last. */
const CHARTS: (ChartOf & { isOfProcess?: boolean })[] = [
  {
    title: 'Connections',
    format: value => count(value),
    lines: [
      { label: 'connections', field: 'connections' },
      { label: 'users', field: 'users' },
    ],
  },
  {
    title: 'Messages',
    format: perSecond,
    lines: [
      { label: 'received', field: 'messages_received_per_second' },
      { label: 'sent', field: 'messages_sent_per_second' },
    ],
  },
  {
    title: 'Operations and deliveries',
    format: perSecond,
    lines: [
      { label: 'operations', field: 'ops_per_second' },
      { label: 'deliveries', field: 'deliveries_per_second' },
    ],
  },
  {
    title: 'Bytes',
    isBinary: true,
    format: bytesPerSecond,
    lines: [
      { label: 'received', field: 'received_bytes_per_second' },
      { label: 'sent', field: 'sent_bytes_per_second' },
    ],
  },
  { title: 'Time of a turn', format: micros, lines: quantiles('turn'), isLogarithmic: true },
  { title: 'Time to the ack', format: micros, lines: quantiles('ack'), isLogarithmic: true },
  { title: 'Lag of the event loop', format: micros, lines: [{ label: 'lag', field: 'lag_us' }] },
  { title: 'Turns', format: perSecond, lines: [{ label: 'turns', field: 'turns_per_second' }] },
  {
    title: 'Waiting to be sent or written',
    isBinary: true,
    format: bytes,
    lines: [
      { label: 'to clients', field: 'outbox_bytes' },
      { label: 'to the journal', field: 'journal_pending_bytes' },
    ],
  },
  {
    title: 'Time of a sync of the journal',
    format: micros,
    lines: quantiles('sync'),
    isLogarithmic: true,
    isOfProcess: true,
  },
  {
    title: 'CPU',
    format: value => count(value, 'cores'),
    lines: [{ label: 'in use', field: 'cpu_cores' }],
    isOfProcess: true,
  },
  {
    title: 'Memory',
    isBinary: true,
    format: bytes,
    lines: [
      { label: 'process', field: 'resident_bytes' },
      { label: 'maps', field: 'map_bytes' },
    ],
    isOfProcess: true,
  },
]

type Shard = Record<string, number | null> & { shard: number }

const SHARD_COLUMNS: Column<Shard>[] = [
  { title: 'Shard', cell: row => `${row.shard}`, isName: true },
  { title: 'Connections', cell: row => count(row.connections) },
  { title: 'Maps', cell: row => count(row.maps) },
  { title: 'Cells', cell: row => count(row.cells) },
  { title: 'Received', cell: row => perSecond(row.messages_received_per_second) },
  { title: 'Sent', cell: row => perSecond(row.messages_sent_per_second) },
  { title: 'Deliveries', cell: row => perSecond(row.deliveries_per_second) },
  { title: 'Ops', cell: row => perSecond(row.ops_per_second) },
  { title: 'Bytes in', cell: row => bytesPerSecond(row.received_bytes_per_second) },
  { title: 'Bytes out', cell: row => bytesPerSecond(row.sent_bytes_per_second) },
  { title: 'Turns', cell: row => perSecond(row.turns_per_second) },
  { title: 'Turn p50', cell: row => micros(row.turn_p50_us) },
  { title: 'p99', cell: row => micros(row.turn_p99_us) },
  { title: 'p999', cell: row => micros(row.turn_p999_us) },
  { title: 'Ack p50', cell: row => micros(row.ack_p50_us) },
  { title: 'p99', cell: row => micros(row.ack_p99_us) },
  { title: 'p999', cell: row => micros(row.ack_p999_us) },
  { title: 'Lag', cell: row => micros(row.lag_us) },
  { title: 'Outboxes', cell: row => bytes(row.outbox_bytes) },
  { title: 'Map memory', cell: row => bytes(row.map_bytes) },
]

/** The hour of all shards together is kept while other pages are shown. */
const summed = new Hour()

export async function now(view: View): Promise<void> {
  const { signal } = view
  let hour = summed
  let shard: number | null = null
  let minutes = 15
  const charts = CHARTS.map(of => new Chart(of, signal))
  const top = make('div', { class: 'panel figures' })
  const chartsBox = make('div', { class: 'charts' }, noSeconds())
  const shardsBox = make('div')
  const scope = make('select', { change: () => void choose(scope.value === '' ? null : Number(scope.value)) })
  fill(scope, make('option', { value: '' }, 'all shards, summed'))
  const range = make(
    'fieldset',
    { class: 'choice' },
    make('legend', { class: 'hidden' }, 'How far back'),
    [5, 15, 60].map(choice =>
      make(
        'label',
        {},
        make('input', {
          type: 'radio',
          name: 'range',
          value: choice,
          checked: choice === minutes,
          change: () => {
            minutes = choice
            draw()
          },
        }),
        `${choice} min`,
      ),
    ),
  )
  const bar = make('div', { class: 'bar' }, make('label', { class: 'inline' }, 'Charts of ', scope), range)
  view.show(
    'Now',
    top,
    bar,
    chartsBox,
    section('Shards', {}, shardsBox),
    section('Consistency', { class: 'panel' }, check(signal)),
  )

  let server: ServerAnswer | null = null

  function draw(): void {
    if (hour.unixMs.length === 0) return
    const last = hour.unixMs.at(-1) ?? 0
    const columns = shard === null ? hour.sum : (hour.shards[shard] ?? {})
    const visible = charts.filter((_, place) => shard === null || !CHARTS[place]?.isOfProcess)
    if (chartsBox.childElementCount !== visible.length || !visible[0]?.element.isConnected) {
      fill(
        chartsBox,
        visible.map(chart => chart.element),
      )
    }
    for (const chart of visible) chart.show(hour.unixMs, columns, last - minutes * 60_000)
    const sum = (name: string) => hour.sum[name]?.at(-1) ?? null
    if (server) {
      const { version, storage, auth, shards, listen } = server
      fill(
        top,
        facts([
          ['Up for', duration(last - server.started_unix_ms)],
          ['Connections', count(sum('connections'))],
          ['Users', count(sum('users'))],
          ['Subscriptions', count(sum('subscriptions'))],
          ['Maps', count(sum('maps'))],
          ['Cells', count(sum('cells'))],
          ['Rooms', count(sum('rooms'))],
          ['Channels', count(sum('channels'))],
          ['Memory of maps', bytes(sum('map_bytes'))],
          ['Memory of all', bytes(sum('resident_bytes'))],
          ['CPU', count(sum('cpu_cores'), 'cores')],
        ]),
        make(
          'p',
          { class: 'soft small' },
          `Version ${version}, ${several(shards, 'shard')}, storage ${storage}, auth ${auth}, on ${listen.join(', ')}; you are ${server.you}.`,
        ),
      )
    }
    if (hour.latest.length === 0) return
    const rows = hour.latest.map((values, place) => ({ ...values, shard: place }) as Shard)
    const scrolled = shardsBox.firstElementChild?.scrollLeft ?? 0
    const isFocused = shardsBox.contains(document.activeElement)
    fill(shardsBox, table('What each shard does', SHARD_COLUMNS, rows, true))
    const fresh = shardsBox.firstElementChild as HTMLElement
    fresh.scrollLeft = scrolled
    if (isFocused) fresh.focus({ preventScroll: true })
    if (scope.childElementCount !== rows.length + 1) {
      fill(
        scope,
        make('option', { value: '' }, 'all shards, summed'),
        rows.map((_, place) => make('option', { value: place }, `shard ${place}`)),
      )
      scope.value = shard === null ? '' : `${shard}`
    }
  }

  async function choose(chosen: number | null): Promise<void> {
    shard = chosen
    // The hour of each shard is much, and asked for only by who wants it.
    if (chosen === null) hour = summed
    else if (!hour.hasShards) hour = new Hour(true)
    await hour.update(signal).catch(() => false)
    draw()
  }

  await every(1000, signal, async () => {
    try {
      server ??= await read<ServerAnswer>('/admin/server', {}, signal)
      if (await hour.update(signal)) draw()
      else if (hour.unixMs.length > 0 && !charts[0]?.element.isConnected) draw()
    } catch {
      // The top of the page says so. What comes back may have begun anew.
      server = null
    }
  })
}

function check(signal: AbortSignal): HTMLElement {
  const box = make('div', {}, 'Asking…')
  const shown = (answer: CheckAnswer): Content => {
    const isBad = (answer.violations ?? 0) > 0
    const run = button('Check now', () => void act(run, begin), { class: 'quiet', disabled: answer.is_running })
    return [
      make('p', { class: isBad ? 'bad' : '' }, sentence(answer)),
      answer.problems.length > 0 &&
        make(
          'ul',
          { class: 'plain' },
          answer.problems.map(text => make('li', {}, text)),
        ),
      isBad && make('p', {}, 'This is a fault of the server: please report it with the log.'),
      make(
        'p',
        { class: 'soft' },
        'That connections, subscriptions, members and counters agree is checked once an hour.',
      ),
      run,
    ]
  }
  const begin = async () => {
    let answer = await post<CheckAnswer>('/admin/check', {}, signal)
    while (answer.is_running && !signal.aborted) {
      fill(box, shown(answer))
      await new Promise(resolve => setTimeout(resolve, 300))
      answer = await read<CheckAnswer>('/admin/check', {}, signal)
    }
    fill(box, shown(answer))
    return sentence(answer)
  }
  void load(box, signal, async () => shown(await read<CheckAnswer>('/admin/check', {}, signal)))
  return box
}

function sentence({ is_running, started_unix_ms, ended_unix_ms, looked_at, violations, error }: CheckAnswer): string {
  if (is_running) return 'A check is under way.'
  if (error) return `The last check was not finished: ${error}.`
  if (ended_unix_ms === null || violations === null) return 'Nothing was checked yet.'
  const found = violations === 0 ? 'All well' : several(violations, 'violation')
  const took = textOf(duration(ended_unix_ms - (started_unix_ms ?? ended_unix_ms)))
  return `${found}: ${several(looked_at, 'place')} looked at, at ${moment(ended_unix_ms)}, in ${took}.`
}
