// The last warnings, errors and audited changes, the newest first.

import type { LogAnswer, LogLine } from '../answers'
import { read } from '../api'
import { field, fill, make, say } from '../element'
import { moment, several } from '../format'
import { every, problem, type View } from '../view'

/** As many as the server keeps. */
const LINES = 512

export async function log({ signal, show }: View): Promise<void> {
  const lines: LogLine[] = []
  let next: number | undefined
  const body = make('ol', { class: 'log', 'aria-label': 'Lines, the newest first' })
  const status = make('p', { class: 'soft status' }, 'Asking…')
  const level = make(
    'select',
    { change: () => draw() },
    [
      ['', 'all'],
      ['problems', 'warnings and errors'],
      ['error', 'errors'],
      ['audit', 'changes by people'],
    ].map(([value, text]) => make('option', { value }, text)),
  )
  const words = make('input', { autocomplete: 'off', input: () => draw() })
  const isWanted = (line: LogLine) => {
    const isAudit = line.target === 'annulus::audit'
    if (level.value === 'audit' && !isAudit) return false
    if (level.value === 'problems' && isAudit) return false
    if (level.value === 'error' && line.level.toLowerCase() !== 'error') return false
    return `${line.target} ${line.message}`.toLowerCase().includes(words.value.toLowerCase())
  }
  const draw = () => {
    const wanted = lines.filter(isWanted)
    const nothing =
      lines.length === 0
        ? 'Nothing to worry about: no warning, no error, no change since the start.'
        : 'No line is like that.'
    fill(body, wanted.length === 0 ? make('li', { class: 'empty' }, nothing) : wanted.map(lineOf).reverse())
    say(status, `${several(wanted.length, 'line')}; the server keeps the last ${LINES}.`)
  }
  const form = make(
    'form',
    { class: 'search', role: 'search', submit: event => event.preventDefault() },
    field('Which', level),
    field('Has the words', words),
  )
  show('Log', form, status, body)
  await every(2000, signal, async () => {
    try {
      const answer = await read<LogAnswer>('/admin/log', { after: next, limit: LINES }, signal)
      // A server that was started anew counts from the start. What it has said so far is left out of this answer, by the number of the
      // one before: the next turn asks for all of it.
      if (next !== undefined && answer.next < next) {
        next = undefined
        lines.length = 0
        return
      }
      const isFirst = next === undefined
      next = answer.next
      if (answer.lines.length === 0 && !isFirst) return
      lines.push(...answer.lines)
      lines.splice(0, lines.length - LINES)
      draw()
    } catch (error) {
      if (!signal.aborted && next === undefined) fill(body, make('li', {}, problem(error)))
    }
  })
}

function lineOf({ unix_ms, level, target, message }: LogLine): HTMLElement {
  const kind = target === 'annulus::audit' ? 'audit' : level.toLowerCase()
  return make(
    'li',
    { 'data-level': kind },
    make('time', { datetime: new Date(unix_ms).toISOString() }, moment(unix_ms)),
    make('span', { class: 'level' }, kind),
    make('span', { class: 'message' }, message, ' ', make('span', { class: 'soft' }, target)),
  )
}
