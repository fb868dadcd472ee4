// On a server there is no connection, no store and no client: components are rendered with nothing.

import type { Annulus } from 'annulus-client'
import { renderToString } from 'react-dom/server'
import { expect, test } from 'vitest'
import { connect } from '../../client/test/server'
import { useChannel, useConnection, useKey, useMap, usePending, usePresence, useQuery } from '../src'

function App({ db }: { db: Annulus | null }) {
  const todos = db?.map<{ title: string }>('todos')
  const { state } = useConnection(db)
  const said = useChannel(db?.channel('c')).messages.length
  const here = usePresence(db?.room('r'), { name: 'Ada' }).count
  const rows = useMap(todos).length + useQuery(todos, { sort: ['title'] }).length
  return `${state} ${usePending(db)} ${said} ${here} ${rows} ${useKey(todos, 'a')?.title ?? 'none'}`
}

test('without a client, and with one, a server renders the same', () => {
  expect(renderToString(<App db={null} />)).toBe('offline 0 0 0 0 none')
  const db = connect({ url: 'ws://127.0.0.1:9/v1' }, { autoConnect: false })
  // What this client knows is nobody else's, who is sent the page.
  void db.map('todos').set('a', { title: 'Milk' })
  expect(renderToString(<App db={db} />)).toBe('offline 0 0 0 0 none')
})
