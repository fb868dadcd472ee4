// Each example by the one command that starts it, in a real browser or as a process, on the real server.

import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Page } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { connect, type Server, startServer, until } from '../../client/test/server'
import { person, visit, withBrowser } from '../../demo/test/browser'

withBrowser()

/** Runs `npm run <name>`, and resolves with what a line of it says that matches. */
async function start(name: string, flags: string[], line: RegExp): Promise<string> {
  const cwd = resolve(import.meta.dirname, '..')
  const env = { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' }
  const run = spawn('npm', ['run', name, '--', ...flags], {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  // With what it has started.
  onTestFinished(() => void (run.exitCode === null && run.pid && process.kill(-run.pid, 'SIGTERM')))
  const said: string[] = []
  return new Promise((found, failed) => {
    for (const stream of [run.stdout, run.stderr]) {
      createInterface({ input: stream }).on('line', text => {
        said.push(text)
        const match = line.exec(text)
        if (match) found(match[1] as string)
      })
    }
    run.on('exit', () => failed(new Error(`npm run ${name} has ended:\n${said.join('\n')}`)))
  })
}

/** Two people with one example in their browsers; or in two tabs of one. */
async function twoWith(name: string, isOneBrowser = false): Promise<{ pages: [Page, Page]; server: Server }> {
  const server = await startServer({ onDisk: true })
  const home = await start(name, ['--port', '0', '--host', '127.0.0.1'], /Local: +(http:\S+)/)
  const address = (who: string) => `${home}?server=${encodeURIComponent(server.url)}&name=${who}`
  const ada = await person(address('Ada'))
  if (!isOneBrowser) return { pages: [ada, await person(address('Bob'))], server }
  const bob = await ada.context().newPage()
  await visit(bob, address('Bob'))
  return { pages: [ada, bob], server }
}

const PATIENCE = { timeout: 15_000, interval: 30 }

test('todo: what one adds and ticks off the other sees', async () => {
  const { pages } = await twoWith('todo')
  const [ada, bob] = pages
  await ada.getByLabel('What is to be done').fill('Milk')
  await ada.keyboard.press('Enter')
  await bob.getByText('Milk').waitFor()
  await bob.getByRole('checkbox').check()
  await expect.poll(() => ada.getByRole('checkbox').isChecked(), PATIENCE).toBe(true)
  await ada.getByRole('button', { name: 'Remove Milk' }).click()
  await expect.poll(() => bob.getByRole('listitem').count(), PATIENCE).toBe(0)
})

test('todo: tabs share a connection, and go on without the first, and without the server', async () => {
  const { pages, server } = await twoWith('todo', true)
  const [first, second] = pages
  const add = async (page: Page, title: string) => {
    await page.getByLabel('What is to be done').fill(title)
    await page.keyboard.press('Enter')
  }
  await add(first, 'Milk')
  await second.getByText('Milk').waitFor()
  const metrics = await (await fetch(`http://${server.address}/metrics`)).text()
  expect(/^annulus_connections (.*)$/m.exec(metrics)?.[1]).toBe('1')

  await first.close()
  await add(second, 'Bread')
  const other = connect(server).map<{ title: string }>('todos')
  const titles = () => [...other.values()].map(({ title }) => title).sort()
  await until(() => titles().join() === 'Bread,Milk', titles)

  await server.stop('SIGKILL')
  await second.getByText('offline: go on, it is kept').waitFor()
  await add(second, 'Eggs')
  await second.getByText('Eggs').waitFor()
  await second.waitForTimeout(300)
  await second.reload()
  for (const title of ['Milk', 'Bread', 'Eggs']) await second.getByText(title).waitFor()
  await server.start()
  await until(() => titles().join() === 'Bread,Eggs,Milk', titles, 20_000)
})

test('board: cards move between columns on both screens, and both are here', async () => {
  const { pages } = await twoWith('board')
  const [ada, bob] = pages
  await expect.poll(() => ada.getByRole('status').textContent(), PATIENCE).toBe('Here: Ada, Bob')
  await ada.getByLabel('Title').fill('Write it')
  await ada.getByRole('button', { name: 'Add' }).click()
  await bob.getByRole('region', { name: 'Next' }).getByText('Write it').waitFor()
  await bob.getByRole('button', { name: 'Write it: on' }).click()
  await ada.getByRole('region', { name: 'Now' }).getByText('Write it').waitFor()
})

test.each([false, true])(
  'editor: two write one text, see whose cursor is where, and find it again; tabs: %s',
  async tabs => {
    const { pages } = await twoWith('editor', tabs)
    const [ada, bob] = pages
    const text = (page: Page) =>
      page.locator('.cm-line').evaluateAll(lines => lines.map(line => line.textContent).join('\n'))
    for (const page of pages)
      await expect.poll(() => page.getByRole('status').textContent(), PATIENCE).toBe('Connected')
    await ada.getByLabel('Text').click()
    await ada.keyboard.type('Hello')
    await bob.locator('.cm-ySelectionInfo', { hasText: 'Ada' }).waitFor({ state: 'attached' })
    await expect.poll(() => text(bob), PATIENCE).toContain('Hello')
    await bob.getByLabel('Text').click()
    await bob.keyboard.press('Control+End')
    await bob.keyboard.type(' there')
    await expect.poll(() => ada.locator('.cm-content').textContent(), PATIENCE).toContain('there')
    await ada.waitForTimeout(1_500)
    await ada.reload()
    await expect.poll(() => text(ada), PATIENCE).toMatch(/Hello.* there/)
  },
)

test('bot: it is here, and does what it is told', async () => {
  const server = await startServer()
  await start('bot', [server.url], /: (open)$/)
  const db = connect(server)
  const chat = db.channel<string>('chat').join()
  const room = db.room<{ name: string }>('chat').watch()
  await until(() => room.members.some(({ state }) => state.name === 'bot'))
  await chat.publish('todo: Milk')
  await until(() => chat.messages.some(({ data }) => data === 'On the list: Milk'))
  const todos = db.map<{ title: string }>('todos')
  await todos.synced()
  expect([...todos.values()].map(({ title }) => title)).toEqual(['Milk'])
})
