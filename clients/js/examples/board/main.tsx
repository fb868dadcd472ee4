// Cards in three columns, with who is here. A card is rendered when it changes, and no other is.

import { Annulus, indexedDb } from 'annulus-client'
import { useConnection, useKey, usePresence, useQuery } from 'annulus-react'
import { memo } from 'react'
import { createRoot } from 'react-dom/client'

interface Card {
  title: string
  column: number
}

const COLUMNS = ['Next', 'Now', 'Done']

const query = new URLSearchParams(location.search)
const db = new Annulus(query.get('server') ?? 'ws://127.0.0.1:9000/v1', { offline: indexedDb('board') })
const cards = db.map<Card>('cards')
const me = { name: query.get('name') ?? `Guest ${Math.floor(Math.random() * 100)}` }

const CardItem = memo(function CardItem({ id }: { id: string }) {
  const card = useKey(cards, id)
  if (!card) return null
  const move = (by: number) => cards.set(id, { ...card, column: card.column + by })
  return (
    <li>
      {card.title}
      <span>
        {card.column > 0 && (
          <button type="button" aria-label={`${card.title}: back`} onClick={() => move(-1)}>
            ←
          </button>
        )}
        {card.column < COLUMNS.length - 1 && (
          <button type="button" aria-label={`${card.title}: on`} onClick={() => move(1)}>
            →
          </button>
        )}
      </span>
    </li>
  )
})

function Column({ column }: { column: number }) {
  const rows = useQuery(cards, { where: { column }, sort: ['title'] })
  return (
    <section aria-label={COLUMNS[column]}>
      <h2>{COLUMNS[column]}</h2>
      <ul>
        {rows.map(([id]) => (
          <CardItem key={id} id={id} />
        ))}
      </ul>
    </section>
  )
}

function Board() {
  const { members } = usePresence(db.room<typeof me>('cards'), me)
  const { state } = useConnection(db)
  const add = (form: FormData) => {
    void cards.set(crypto.randomUUID(), { title: `${form.get('title')}`, column: 0 })
  }
  return (
    <main>
      <h1>Board</h1>
      <p role="status">{state === 'open' ? `Here: ${members.map(member => member.state.name).join(', ')}` : state}</p>
      <form action={add}>
        <input name="title" aria-label="Title" required /> <button type="submit">Add</button>
      </form>
      <div className="columns">
        {COLUMNS.map((name, column) => (
          <Column key={name} column={column} />
        ))}
      </div>
    </main>
  )
}

const root = document.getElementById('root')
if (root) createRoot(root).render(<Board />)
