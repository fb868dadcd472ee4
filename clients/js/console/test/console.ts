// A server with its console and people behind it, and a browser on it.

import type { BrowserContextOptions, Locator, Page } from 'playwright-core'
import { expect, onTestFinished } from 'vitest'
import type { Annulus } from '../../client/src'
import { connect, type Server, startServer } from '../../client/test/server'
import { SECRET, tokenFor } from '../../client/test/tokens'
import { person } from '../../demo/test/browser'

export const PATIENCE = { timeout: 15_000, interval: 50 }

/** A server on two shards with its admin listener. */
export function startAdmin(options: Parameters<typeof startServer>[0] = {}): Promise<Server> {
  return startServer({ ...options, flags: ['--admin-listen', '127.0.0.1:0', ...(options.flags ?? [])] })
}

/** A token of who may administer. */
export const adminToken = () => tokenFor('root', 600_000, SECRET, { roles: ['admin'] })

/** Opens a page of the console. */
export function open(server: Server, page = 'now', options: BrowserContextOptions = {}): Promise<Page> {
  return person(`http://${server.adminAddress}/console/#/${page}`, options)
}

/** What the API says. */
export async function api<T>(server: Server, path: string, body?: object, token?: string): Promise<T> {
  const headers = { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) }
  const init = body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers }
  const response = await fetch(`http://${server.adminAddress}${path}`, init)
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}

/** Waits until this is in what an element says. */
export async function says(element: Locator, text: string | RegExp): Promise<void> {
  const has = (found: string) => (typeof text === 'string' ? found.includes(text) : text.test(found))
  const found = async () => ((await element.count()) === 0 ? '' : ((await element.first().textContent()) ?? ''))
  const told = async () => {
    const said = await found()
    return has(said) || said
  }
  await expect.poll(told, PATIENCE).toBe(true)
}

/** The value of a figure by its name. */
export const figure = (page: Page, name: string) =>
  page
    .locator('.facts > div')
    .filter({ has: page.getByText(name, { exact: true }) })
    .locator('dd')

export const rows = (page: Page) => page.locator('#page tbody tr')

/** Says yes to a question, after a look at what it asks. */
export async function confirm(page: Page, says: RegExp, action: string): Promise<void> {
  const dialog = page.getByRole('dialog')
  expect(await dialog.textContent()).toMatch(says)
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Cancel')
  await dialog.getByRole('button', { name: action, exact: true }).click()
}

/** People who write, are in rooms and talk, without end: a map of each type, a room, a channel. */
export async function crowd(server: Server, count: number, userOf?: (place: number) => string): Promise<Annulus[]> {
  const people = Array.from({ length: count }, (_, place) => {
    const token = userOf ? { token: tokenFor(userOf(place), 600_000, SECRET, { roles: ['member'] }) } : {}
    return connect(server, token)
  })
  for (const [place, db] of people.entries()) {
    db.map(`board:${place % 4}`).subscribe(() => {})
    db.set('tags').subscribe(() => {})
    db.counter('views').subscribe(() => {})
    db.room('doc-1').join({ cursor: place })
    db.channel('chat:1').subscribe(() => {})
  }
  const [first] = people
  if (!first) return people
  await first.map('board:0').set('card-1', { title: 'Write the release notes', done: false })
  await first.map('board:0').set('card-2', { title: 'Sweep', done: true })
  await first.map('board:0').delete('card-2')
  await first.set('tags').add('card-1', 'urgent')
  await first.set('tags').add('card-1', 'red')
  await first.counter('views').increment('card-1', 12)
  await first.channel('chat:1').publish({ text: 'good morning' })
  let turn = 0
  const busy = setInterval(() => {
    turn += 1
    const db = people[turn % people.length]
    db?.map(`board:${turn % 4}`)
      .set(`busy-${turn % 20}`, { turn, text: 'what somebody has just written' })
      .catch(() => {})
    if (turn % 10 === 0)
      db?.channel('chat:1')
        .publish({ text: `said at turn ${turn}` })
        .catch(() => {})
  }, 20)
  onTestFinished(() => clearInterval(busy))
  return people
}

/** Writes so many maps of one key, named `prefix` and a number. */
export async function manyMaps(server: Server, prefix: string, count: number): Promise<void> {
  for (let from = 0; from < count; from += 1000) {
    const ops = Array.from({ length: Math.min(1000, count - from) }, (_, place) => {
      return { map: `${prefix}${from + place}`, key: 'k', op: 'set', value: place }
    })
    const { applied } = await api<{ applied: number }>(server, '/api/write', { ops })
    expect(applied).toBe(ops.length)
  }
}
