// Users who are connected, and who have said who they are.

import type { UserRow } from '../answers'
import { field, make } from '../element'
import { count } from '../format'
import { List, searchForm } from '../paging'
import { anchor, type View } from '../view'
import { changesOfUser } from './clients'

export function users(view: View): void {
  const prefix = make('input', { autocomplete: 'off' })
  const list = new List<UserRow>({
    path: '/admin/users',
    rows: 'users',
    noun: ['user', 'users'],
    total: 'users',
    signal: view.signal,
    columns: [
      { title: 'User', cell: row => anchor(row.user, 'clients', { user: row.user }), isName: true },
      { title: 'Connections', cell: row => count(row.connections) },
      { title: 'Home', cell: row => `shard ${row.home}` },
      { title: 'Actions', cell: row => make('span', { class: 'actions' }, changesOfUser(row.user, view.signal)) },
    ],
    empty: isSearch =>
      isSearch
        ? 'No user who is connected has a name that begins so.'
        : 'Nobody who is connected has said who they are. With --auth none nobody does.',
  })
  const form = searchForm(
    'users',
    view.query,
    [{ name: 'prefix', input: prefix, element: field('Name begins with', prefix) }],
    query => void list.search(query),
  )
  view.show('Users', form, list.element)
}
