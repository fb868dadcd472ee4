// Who may do what: a question to the rules that are in force.

import type { ExplainAnswer } from '../answers'
import { post } from '../api'
import { type Content, field, INVALID, jsonOf, make, section } from '../element'
import { table } from '../table'
import { load, type View } from '../view'

const ACTIONS = ['read', 'write', 'delete', 'subscribe', 'publish', 'presence', 'send', 'admin']

export function rules({ query, signal, show }: View): void {
  const text = (value = '') => make('input', { autocomplete: 'off', spellcheck: false, value })
  const json = () => make('textarea', { rows: 3, spellcheck: false })
  const user = text(query.get('user') ?? '')
  const roles = text(query.get('roles') ?? '')
  const claims = json()
  const action = make(
    'select',
    {},
    ACTIONS.map(name => make('option', { value: name }, name)),
  )
  const map = text(query.get('map') ?? '')
  map.required = true
  const key = text()
  const value = json()
  const current = json()
  const answer = make('div', {}, make('p', { class: 'empty' }, 'Ask, and each rule says what it has to say.'))
  const submit = (event: Event) => {
    event.preventDefault()
    const [claimed, valued, present] = [parsed(claims), parsed(value), parsed(current)]
    if (claimed === INVALID || valued === INVALID || present === INVALID) return
    const asked = {
      ...(user.value === '' ? {} : { user: user.value }),
      ...(roles.value.trim() === '' ? {} : { roles: roles.value.split(',').map(role => role.trim()) }),
      ...(claimed === undefined ? {} : { claims: claimed }),
      action: action.value,
      map: map.value,
      ...(key.value === '' ? {} : { key: key.value }),
      ...(valued === undefined ? {} : { value: valued }),
      ...(present === undefined ? {} : { current: present }),
    }
    void load(answer, signal, async () => explained(await post<ExplainAnswer>('/admin/explain', asked, signal)))
  }
  show(
    'Rules',
    make(
      'p',
      {},
      'May somebody do something? As the file of --rules says it now; SIGHUP puts it in force. To ask changes nothing.',
    ),
    make(
      'form',
      { class: 'question', submit },
      field('User', user, 'Empty: somebody anonymous.'),
      field('Roles', roles, 'Several with commas between.'),
      field('Action', action),
      field('Map', map, 'Or room:NAME, channel:NAME, user:NAME.'),
      field('Key', key),
      field('Claims of the token, as JSON', claims),
      field('Value that is written, as JSON', value),
      field('Value that is there, as JSON', current),
      make('div', { class: 'actions' }, make('button', {}, 'Explain')),
    ),
    section('Answer', { 'aria-live': 'polite' }, answer),
  )
}

/** What a field has as JSON; `undefined` of an empty one. */
const parsed = (input: HTMLTextAreaElement) => (input.value.trim() === '' ? undefined : jsonOf(input))

function explained({ user, action, map, outcome, rules, note }: ExplainAnswer): Content {
  const isAllowed = outcome === 'allowed'
  return [
    make(
      'p',
      { class: `verdict ${isAllowed ? 'good' : 'bad'}` },
      make('strong', {}, outcome.charAt(0).toUpperCase() + outcome.slice(1)),
      `: ${user ?? 'somebody anonymous'}, ${action}, ${map}.`,
    ),
    note !== undefined && make('p', {}, note),
    rules.length > 0 &&
      table(
        'What each rule says',
        [
          { title: 'Rule', cell: row => `rule ${row.rule}`, isName: true },
          { title: 'Says', cell: row => `It ${row.says}.` },
        ],
        rules,
      ),
  ]
}
