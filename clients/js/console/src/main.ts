// The console: which page is shown, the menu, and how it stands with the server.

import type { DrainAnswer, ServerAnswer } from './answers'
import { Refused, read } from './api'
import { byId, fill, make, say } from './element'
import { duration, textOf } from './format'
import { client, clients } from './pages/clients'
import { drain } from './pages/drain'
import { key } from './pages/key'
import { log } from './pages/log'
import { map } from './pages/map'
import { maps } from './pages/maps'
import { now } from './pages/now'
import { channel, room, rooms } from './pages/rooms'
import { rules } from './pages/rules'
import { settings } from './pages/settings'
import { storage } from './pages/storage'
import { users } from './pages/users'
import { watchForget } from './session'
import './style.css'
import './parts.css'
import { every, link, lost, outcome, type Pages, problem, type View } from './view'

const PAGES: Pages = {
  now,
  clients,
  client,
  maps,
  map,
  key,
  rooms,
  room,
  channel,
  users,
  rules,
  storage,
  log,
  settings,
  drain,
}

/** What is in the menu; pages about one thing belong to the list that leads there. */
const MENU: [page: string, title: string, others?: string[]][] = [
  ['now', 'Now'],
  ['clients', 'Clients', ['client']],
  ['maps', 'Maps', ['map', 'key']],
  ['rooms', 'Rooms and channels', ['room', 'channel']],
  ['users', 'Users'],
  ['rules', 'Rules'],
  ['storage', 'Storage'],
  ['log', 'Log'],
  ['settings', 'Settings'],
  ['drain', 'Drain'],
]

let shown: AbortController | null = null

function show(): void {
  shown?.abort()
  const isFirst = shown === null
  shown = new AbortController()
  const { signal } = shown
  const [, name = '', query = ''] = /^#\/([^?]*)\??(.*)$/.exec(location.hash) ?? []
  const page = PAGES[name] ? name : 'now'
  const place = byId('page')
  outcome('')
  closeMenu()
  mark(page)
  let isFocused = isFirst
  const view: View = {
    query: new URLSearchParams(query),
    signal,
    show: (title, ...content) => {
      if (signal.aborted) return
      const heading = make('h1', { tabindex: -1 }, title)
      fill(place, heading, ...content)
      document.title = `${title} – Annulus`
      // Whoever has followed a link is told where they are; whoever looks at a page that changes is left alone.
      if (!isFocused) heading.focus({ preventScroll: true })
      if (!isFocused) scrollTo(0, 0)
      isFocused = true
    },
  }
  const failed = (error: unknown) => {
    if (!signal.aborted) view.show('This page has a fault', problem(error))
  }
  // Of pages that are gone nobody wants to hear.
  Promise.resolve(PAGES[page]?.(view)).catch(failed)
}

function mark(page: string): void {
  const items = MENU.map(([name, title, others = []]) => {
    const current = name === page ? 'page' : others.includes(page) ? 'true' : null
    return make('li', {}, make('a', { href: link(name), 'aria-current': current }, title))
  })
  fill(byId('nav'), make('ul', {}, items))
}

function closeMenu(): void {
  byId('menu').setAttribute('aria-expanded', 'false')
}

byId('menu').addEventListener('click', () => {
  const isOpen = byId('menu').getAttribute('aria-expanded') === 'true'
  byId('menu').setAttribute('aria-expanded', `${!isOpen}`)
  if (!isOpen) byId('nav').querySelector('a')?.focus()
})
byId('nav').addEventListener('keydown', event => {
  if (event.key !== 'Escape') return
  closeMenu()
  byId('menu').focus()
})
byId('skip').addEventListener('click', event => {
  event.preventDefault()
  byId('main').focus()
})

/** The badge at the top: how it stands with the server, whatever page is shown. */
async function watch(): Promise<void> {
  const forever = new AbortController().signal
  const badge = byId('state')
  let since: number | null = null
  let name: string | null = null
  const set = (state: string, text: string) => {
    badge.dataset.state = state
    say(badge, text)
  }
  await every(2000, forever, async () => {
    try {
      if (name === null) {
        const server = await read<ServerAnswer>('/admin/server')
        name = `${server.node}, ${server.version}`
        say(byId('node'), name)
      }
      const [{ phase, left_ms }, ready] = await Promise.all([read<DrainAnswer>('/admin/drain'), fetchReady()])
      since = null
      lost(null)
      if (phase === 'countdown') set('warn', `Drains in ${textOf(duration(Math.ceil((left_ms ?? 0) / 1000) * 1000))}`)
      else if (phase !== 'serving') set('bad', 'Draining')
      else if (ready === 'read_only') set('bad', 'Disk full: read only')
      else set('good', 'Serving')
    } catch (error) {
      if (error instanceof Refused && error.status !== 0)
        return set('warn', error.status === 403 ? 'Not allowed' : 'Refused')
      since ??= Date.now()
      // What is not answered once may be answered the next time.
      if (Date.now() - since > 900) lost(since)
      set('bad', 'No answer')
      // It may come back as another one.
      name = null
    }
  })
}

/** `ready`, `draining` or `read_only`. */
async function fetchReady(): Promise<string> {
  return (await (await fetch('/readyz', { cache: 'no-store' })).text()).trim()
}

watchForget()
addEventListener('hashchange', show)
show()
void watch()
