// The end of the server: a countdown that can be stopped, and then one that cannot.

import type { DrainAnswer } from '../answers'
import { post, read } from '../api'
import { confirmed } from '../confirm'
import { button, field, fill, make, say } from '../element'
import { count, several } from '../format'
import { facts } from '../table'
import { act, every, problem, type View } from '../view'

const SAYS = {
  serving: 'The server serves, and is not about to end.',
  countdown: 'The countdown runs. Until it is over, it can be cancelled.',
  lead: 'The server drains: it says so to load balancers, and serves on for a moment. There is no way back.',
  closing: 'The server closes its connections, some at a time, and then ends. There is no way back.',
} as const

export async function drain({ signal, show }: View): Promise<void> {
  const clock = make('p', { class: 'clock', role: 'timer', 'aria-live': 'off' })
  const told = make('p', { role: 'status' })
  const left = make('div')
  const failed = make('div')
  const seconds = make('input', {
    type: 'number',
    min: 0,
    max: 3600,
    step: 1,
    value: 30,
    required: true,
    class: 'short',
  })
  const begin = make('button', { class: 'danger' }, 'Drain…')
  const cancel = button('Cancel the countdown', () => void act(cancel, stop), { hidden: true })
  const form = make(
    'form',
    { class: 'search', submit: event => void start(event) },
    field('Begin in, seconds', seconds, 'Until then it can be cancelled.'),
    make('div', { class: 'actions' }, begin),
  )
  let connections = 0

  const draw = (answer: DrainAnswer) => {
    const { phase, left_ms } = answer
    connections = answer.connections
    fill(failed)
    say(told, SAYS[phase] ?? phase)
    say(clock, left_ms === null ? '' : clockOf(left_ms))
    clock.hidden = left_ms === null
    fill(left, facts([['Connections', count(connections)]]))
    form.hidden = phase !== 'serving'
    cancel.hidden = phase !== 'countdown'
  }
  const start = async (event: Event) => {
    event.preventDefault()
    const says = [
      make(
        'p',
        {},
        `In ${several(seconds.valueAsNumber, 'second')} this server begins to end: it closes ${several(connections, 'connection')} over its drain time, and stops.`,
      ),
      make(
        'p',
        {},
        'Clients come back by themselves, to another server or to this one once it is started anew. What is only in memory is lost.',
      ),
    ]
    if (!(await confirmed({ title: 'Drain this server?', says, action: `Drain in ${seconds.value} s` }))) return
    await act(begin, async () => {
      draw(await post<DrainAnswer>('/admin/drain', { in_ms: seconds.valueAsNumber * 1000 }, signal))
      cancel.focus()
      return 'The countdown has begun.'
    })
  }
  const stop = async () => {
    draw(await post<DrainAnswer>('/admin/drain', { cancel: true }, signal))
    return 'The countdown is cancelled.'
  }

  show('Drain', make('div', { class: 'panel' }, told, clock, cancel, left), form, failed)
  await every(500, signal, async () => {
    try {
      draw(await read<DrainAnswer>('/admin/drain', {}, signal))
    } catch (error) {
      if (signal.aborted) return
      if (told.textContent === '') fill(failed, problem(error))
      else if (told.textContent === SAYS.closing || told.textContent === SAYS.lead) {
        say(told, 'The server has ended.')
        clock.hidden = true
      }
    }
  })
}

function clockOf(ms: number): string {
  const s = Math.ceil(ms / 1000)
  return `${Math.floor(s / 60)}:${`${s % 60}`.padStart(2, '0')}`
}
