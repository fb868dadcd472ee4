// What holds for all pages: who may see them, what they may do, that nobody is kept out, and that they look well.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { connect, folder, startServer } from '../../client/test/server'
import { SECRET, tokenFor } from '../../client/test/tokens'
import { complaintsOf, expectOwnOnly, picture, violationsOf, withBrowser } from '../../demo/test/browser'
import { adminToken, crowd, figure, open, PATIENCE, rows, says, startAdmin } from './console'

withBrowser()

test('the key is asked for, kept in this tab alone, and forgotten', async () => {
  const rules = join(await folder(), 'rules.toml')
  await writeFile(rules, '[[rule]]\nallow = ["read", "write"]\nmaps = ["*"]\n')
  const server = await startAdmin({ secret: SECRET, flags: ['--rules', rules] })
  const page = await open(server)
  const dialog = page.getByRole('dialog')
  await says(dialog, 'This server asks for a key')
  await dialog.getByLabel('API key or token').fill('nonsense')
  await page.keyboard.press('Enter')
  await expect.poll(() => dialog.getByLabel('API key or token').inputValue(), PATIENCE).toBe('')
  await says(dialog.locator('#login-problem'), 'The server says: ')
  const token = adminToken()
  await dialog.getByLabel('API key or token').fill(token)
  await dialog.getByRole('button', { name: 'Log in' }).click()
  await says(page.locator('#state'), 'Serving')
  await says(figure(page, 'Up for'), /(ms|s)$/)
  const kept = () => page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie])
  expect(await kept()).toEqual([[token], [], ''])
  // Another tab of the same browser has to ask.
  const other = await page.context().newPage()
  await other.goto(page.url())
  await says(other.getByRole('dialog'), 'This server asks for a key')
  await page.getByRole('button', { name: 'Log out' }).click()
  await says(page.getByRole('dialog'), 'This server asks for a key')
  expect(await kept()).toEqual([[], [], ''])
  // Who may not administer is told so.
  await page.getByRole('dialog').getByLabel('API key or token').fill(tokenFor('anna', 60_000))
  await page.keyboard.press('Enter')
  await says(page.locator('#state'), 'Not allowed')
  complaintsOf.get(page)?.splice(0)
})

test('the page runs its own script only, and talks to its own server only', async () => {
  const server = await startAdmin()
  const page = await open(server)
  await says(page.locator('#state'), 'Serving')
  await expectOwnOnly(page)
})

test('names that look like HTML are text', async () => {
  const server = await startAdmin()
  const [db] = await crowd(server, 1)
  const name = '<img src=x onerror="window.intruder=1">&amp;#/?a=b'
  await db?.map(name).set('<b>key</b> & "more"', '<script>window.intruder=1</script>')
  const page = await open(server, 'maps')
  await page.getByRole('link', { name }).click()
  await says(page.locator('h1'), `Map ${name}`)
  await page.getByRole('link', { name: '<b>key</b> & "more"' }).click()
  await says(page.locator('pre.value'), '<script>window.intruder=1</script>')
  expect(await page.evaluate('window.intruder')).toBeUndefined()
})

test('a server that is killed is said once, what was there stays, and the next one is shown', async () => {
  const server = await startAdmin()
  const page = await open(server)
  await says(figure(page, 'Connections'), '0')
  const told = page.evaluate(() => {
    let changes = 0
    new MutationObserver(() => (changes += 1)).observe(document.getElementById('lost') as HTMLElement, {
      childList: true,
    })
    return new Promise<number>(resolve => setTimeout(() => resolve(changes), 6_000))
  })
  await server.stop('SIGKILL')
  await says(page.locator('#lost'), /^The server has not answered since/)
  expect(await told).toBe(1)
  // What was there still is.
  expect(await page.locator('.chart canvas').count()).toBe(12)
  const before = await page.locator('#node').textContent()
  const next = await startServer({ flags: ['--admin-listen', server.adminAddress] })
  await says(page.locator('#state'), 'Serving')
  expect(await page.locator('#lost').isVisible()).toBe(false)
  await expect.poll(() => page.locator('#node').textContent(), PATIENCE).not.toBe(before)
  connect(next)
  await says(figure(page, 'Connections'), '1')
  complaintsOf.get(page)?.splice(0)
})

test('the keyboard does it all', async () => {
  const server = await startAdmin()
  await crowd(server, 2)
  const page = await open(server, 'now', { viewport: { width: 360, height: 780 } })
  await says(page.locator('#state'), 'Serving')
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim())
  await page.keyboard.press('Tab')
  expect(await focused()).toBe('Skip the menu')
  await page.keyboard.press('Tab')
  expect(await focused()).toBe('Menu')
  await page.keyboard.press('Enter')
  expect(await focused()).toBe('Now')
  await page.keyboard.press('Escape')
  expect(await focused()).toBe('Menu')
  expect(await page.locator('#nav').isVisible()).toBe(false)
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  // The new page is where one is, and the menu is closed.
  await expect.poll(focused, PATIENCE).toBe('Clients')
  expect(await page.evaluate('document.activeElement.tagName')).toBe('H1')
  expect(await page.locator('#nav').isVisible()).toBe(false)
  await rows(page).getByRole('link').first().focus()
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Close this connection' }).focus()
  await page.keyboard.press('Enter')
  expect(await focused()).toBe('Cancel')
  await page.keyboard.press('Enter')
  expect(await page.getByRole('dialog').count()).toBe(0)
  expect(await focused()).toBe('Close this connection')
})

const PAGES = [
  'now',
  'clients',
  'client',
  'maps',
  'map?map=board:0',
  'key?map=board:0&key=card-1',
  'key?map=tags&key=card-1',
  'key?map=views&key=card-1',
  'rooms',
  'room?room=doc-1',
  'channel?channel=chat:1',
  'users',
  'rules',
  'storage',
  'log',
  'settings',
  'drain',
]

for (const [colorScheme, width, height] of [
  ['light', 1280, 800],
  ['dark', 360, 780],
] as const) {
  test(`nobody is kept out, and it looks well: ${colorScheme}, ${width} wide`, async () => {
    const server = await startAdmin({ onDisk: true, secret: SECRET })
    await crowd(server, 24, place => `user-${place}`)
    const page = await open(server, 'now', { colorScheme, viewport: { width, height } })
    await page.getByLabel('API key or token').fill(adminToken())
    await page.keyboard.press('Enter')
    await says(page.locator('#state'), 'Serving')
    complaintsOf.get(page)?.splice(0)
    const problems: string[][] = []
    for (const name of PAGES) {
      if (name === 'client') await rows(page).getByRole('link').first().click()
      else await page.goto(`http://${server.adminAddress}/console/#/${name}`)
      await settled(page)
      if (name === 'now' || name === 'client') await page.waitForTimeout(2_500)
      await picture(page, `console-${name.replace(/\W+/g, '-')}-${colorScheme}-${width}`)
      const over = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
      if ((over as number) > 0) problems.push([name, `it is ${over} pixels too wide`])
      for (const violation of await violationsOf(page)) problems.push([name, ...violation])
    }
    expect(problems).toEqual([])
  }, 120_000)
}

/** Waits until a page has its answers. */
async function settled(page: Page): Promise<void> {
  const isBusy = () =>
    page.evaluate(
      () => document.querySelector('[aria-busy]') !== null || /Asking…/.test(document.body.textContent ?? ''),
    )
  await page.waitForTimeout(300)
  await expect.poll(isBusy, PATIENCE).toBe(false)
}
