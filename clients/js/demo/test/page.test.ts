// The page of the real server, in a real browser: what people do on it, and what others see.

import type { Locator, Page } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { Server, startServer } from '../../client/test/server'
import { SECRET, tokenFor } from '../../client/test/tokens'
import { complaintsOf, expectOwnOnly, person, picture, violationsOf, visit, withBrowser } from './browser'

withBrowser()

const home = (server: Server) => `http://${server.address}/`
const status = (page: Page) => page.locator('#status')
const notes = (page: Page) => page.locator('.note')

async function online(page: Page): Promise<Page> {
  await says(status(page), 'Connected')
  return page
}

/** Waits until this is what an element says. */
async function says(element: Locator, text: string | RegExp): Promise<void> {
  const has = (found: string | null) => (typeof text === 'string' ? found === text : text.test(found ?? ''))
  await expect.poll(async () => has(await element.textContent()) || (await element.textContent()), PATIENCE).toBe(true)
}

const PATIENCE = { timeout: 10_000, interval: 20 }

async function wrote(page: Page, texts: string[]): Promise<void> {
  const found = () =>
    page.locator('.note textarea').evaluateAll(all => all.map(area => (area as unknown as { value: string }).value))
  await expect.poll(found, PATIENCE).toEqual(texts)
}

async function placed(note: Locator): Promise<{ x: number; y: number }> {
  const box = await note.boundingBox()
  if (!box) throw new Error('the note is not to be seen')
  return { x: Math.round(box.x), y: Math.round(box.y) }
}

async function add(page: Page, text: string): Promise<void> {
  await page.getByRole('button', { name: 'Add a note' }).click()
  await page.keyboard.type(text)
}

/** Moves by the mouse, as people do. */
async function drag(page: Page, note: Locator, dx: number, dy: number): Promise<void> {
  const handle = await note.locator('.handle').boundingBox()
  if (!handle) throw new Error('the handle is not to be seen')
  const [x, y] = [handle.x + handle.width / 2, handle.y + handle.height / 2]
  await page.mouse.move(x, y)
  await page.mouse.down()
  await page.mouse.move(x + dx / 2, y + dy / 2)
  await page.mouse.move(x + dx, y + dy)
  await page.mouse.up()
}

test('what one adds, writes, drags and removes the other sees, with name and cursor', async () => {
  const server = await startServer()
  const [ada, bob] = [await online(await person(home(server))), await online(await person(home(server)))]
  await ada.getByLabel('Your name').fill('Ada')
  await ada.getByLabel('Your name').press('Enter')
  await says(bob.locator('#people'), /Ada/)

  await add(ada, 'Milk')
  await wrote(bob, ['Milk'])
  await says(bob.locator('.note .who'), 'Ada')
  const before = await placed(notes(ada))
  await drag(ada, notes(ada), -150, 90)
  const after = { x: before.x - 150, y: before.y + 90 }
  expect(await placed(notes(ada))).toEqual(after)
  await expect.poll(() => placed(notes(bob)), PATIENCE).toEqual(after)
  await says(bob.locator('.cursor'), 'Ada')

  await bob.getByLabel('Text of the note').fill('Milk and bread')
  await wrote(ada, ['Milk and bread'])
  await bob.getByRole('button', { name: 'Remove: Milk and bread' }).click()
  await wrote(ada, [])
  expect(await ada.locator('#empty').isVisible()).toBe(true)
  await bob.close()
  await expect.poll(() => ada.locator('.person').count(), PATIENCE).toBe(1)
})

test('the keyboard does it all, and screen readers are told', async () => {
  const server = await startServer()
  const page = await online(await person(home(server)))
  await page.locator('#add').focus()
  await page.keyboard.press('Enter')
  await page.keyboard.type('Milk')
  await page.getByRole('button', { name: 'Move: Milk', exact: true }).focus()
  const { x, y } = await placed(notes(page))
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Shift+ArrowUp')
  expect(await placed(notes(page))).toEqual({ x: x + 10, y: y - 50 })
  await says(page.locator('#live'), /^\d+ from the left, \d+ from the top$/)
  await page.keyboard.press('Tab')
  await page.keyboard.press('Space')
  await wrote(page, [])
  expect(await page.evaluate('document.activeElement.id')).toBe('add')
})

test('the offline switch: both sides go on, a reload keeps it, and all of it meets', async () => {
  const server = await startServer()
  const [away, there] = [await online(await person(home(server))), await online(await person(home(server)))]
  await add(away, 'Plan')
  await wrote(there, ['Plan'])
  await away.locator('.switch').click()
  await says(status(away), 'Offline')
  await expect.poll(() => there.locator('.person').count(), PATIENCE).toBe(1)

  await drag(away, notes(away), 120, 60)
  const moved = await placed(notes(away))
  await away.getByRole('button', { name: 'Count up' }).click()
  await there.getByLabel('Text of the note').fill('Plan B')
  await there.getByRole('button', { name: 'Count up' }).click()
  await says(status(away), /^Offline, \d+ changes wait$/)
  await wrote(away, ['Plan'])
  // What is written is in the store a moment later.
  await away.waitForTimeout(400)

  await away.reload()
  await says(status(away), /^Offline, \d+ changes wait$/)
  await wrote(away, ['Plan'])
  expect(await placed(notes(away))).toEqual(moved)
  await says(away.locator('#count'), '1')

  await away.locator('.switch').click()
  await says(status(away), 'Connected')
  for (const page of [away, there]) {
    await wrote(page, ['Plan B'])
    await expect.poll(() => placed(notes(page)), PATIENCE).toEqual(moved)
    await says(page.locator('#count'), '2')
  }
})

test('a server that is killed is said so, waited for, and told what it has missed', async () => {
  const server = await startServer({ onDisk: true })
  const [ada, bob] = [await online(await person(home(server))), await online(await person(home(server)))]
  await add(ada, 'Before')
  await wrote(bob, ['Before'])
  // Acked in memory only, it may be lost with the server; after a second it is on the disk.
  await ada.waitForTimeout(1_000)
  await server.stop('SIGKILL')
  await says(status(ada), 'No server')
  await ada.getByLabel('Text of the note').fill('After')
  await says(status(ada), /^(No server|Connecting…).*1 change waits$|^Connecting…$/)
  await server.start()
  for (const page of [ada, bob]) {
    // The first try after so long may be some seconds away.
    await page.evaluate(() => window.dispatchEvent(new Event('online')))
    await wrote(page, ['After'])
    await says(status(page), 'Connected')
  }
})

test('two tabs of one browser are two people, and each finds what it had', async () => {
  const server = await startServer()
  const first = await online(await person(home(server)))
  const second = await first.context().newPage()
  await visit(second, home(server))
  await online(second)
  await expect.poll(() => first.locator('.person').count(), PATIENCE).toBe(2)
  await add(second, 'From the second')
  await wrote(first, ['From the second'])
  const slot = (page: Page) => page.evaluate(() => sessionStorage.getItem('annulus-demo-slot'))
  expect([await slot(first), await slot(second)]).toEqual(['1', '2'])
  await second.reload()
  await online(second)
  expect(await slot(second)).toBe('2')
})

test('chat and counter are shared, and who comes later sees what was said', async () => {
  const server = await startServer()
  const ada = await online(await person(home(server)))
  await ada.getByRole('textbox', { name: 'Message' }).fill('Hello')
  await ada.keyboard.press('Enter')
  await says(ada.locator('#messages p'), 'Hello')
  await ada.getByRole('button', { name: 'Count up' }).click()
  const bob = await online(await person(home(server)))
  await says(bob.locator('#messages p'), 'Hello')
  await bob.getByRole('button', { name: 'Count up' }).click()
  await bob.getByRole('button', { name: 'Count down' }).click()
  await bob.getByRole('button', { name: 'Count up' }).click()
  for (const page of [ada, bob]) await says(page.locator('#count'), '2')
})

test('the page runs its own script only, and talks to its own server only', async () => {
  const server = await startServer()
  const page = await online(await person(home(server)))
  await expectOwnOnly(page)
})

test('a page whose origin is not allowed says so, and what to do', async () => {
  const server = await startServer({ flags: ['--allowed-origins', 'https://app.example'] })
  const page = await person(home(server))
  await says(
    page.getByRole('alert'),
    new RegExp(`its origin, http://${server.address}, is not among --allowed-origins`),
  )
  expect(await page.getByRole('alert').isVisible()).toBe(true)
  await says(status(page), 'Not let in')
  await picture(page, 'page-refused')
  // One that may connect is not told of it.
  const own = new Server(['--storage', 'memory', '--allowed-origins', `http://${server.address}`])
  own.address = server.address
  await server.stop()
  await own.start()
  onTestFinished(() => own.stop('SIGKILL'))
  await page.reload()
  await online(page)
  expect(await page.getByRole('alert').isVisible()).toBe(false)
  // The browser says it of its own accord, too.
  complaintsOf.get(page)?.splice(0)
})

test('where the server asks who one is the page does, and again when that is over', async () => {
  const server = await startServer({ secret: SECRET })
  const page = await person(home(server))
  const dialog = page.getByRole('dialog')
  await says(dialog.locator('#token-problem'), /^The server says: /)
  await dialog.getByLabel('Token or API key').fill(tokenFor('ada', 4_000))
  await dialog.getByRole('button', { name: 'Connect' }).click()
  await online(page)
  await add(page, 'Mine')
  await says(dialog.locator('#token-problem'), /^The server says: /)
  await dialog.getByLabel('Token or API key').fill(tokenFor('ada', 600_000))
  await dialog.getByRole('button', { name: 'Connect' }).click()
  await online(page)
  await wrote(page, ['Mine'])
})

test('on a phone the board says that there is more of it, and a note is dragged there', async () => {
  const server = await startServer()
  const page = await online(await person(home(server), { viewport: { width: 360, height: 740 }, hasTouch: true }))
  expect(await page.locator('#swipe').isVisible()).toBe(true)
  await add(page, 'Milk')
  const board = page.locator('#board')
  await board.scrollIntoViewIfNeeded()
  const handle = await notes(page).locator('.handle').boundingBox()
  if (!handle) throw new Error('the handle is not to be seen')
  const y = handle.y + handle.height / 2
  await page.mouse.move(handle.x + 20, y)
  await page.mouse.down()
  // At the edge each move takes the board on.
  for (let i = 0; i < 12; i++) await page.mouse.move(330 + (i % 2), y)
  await page.mouse.up()
  const scrolled = await board.evaluate(({ scrollLeft }) => scrollLeft)
  expect(scrolled).toBeGreaterThan(300)
  const { x } = await placed(notes(page))
  const { x: left, width } = (await board.boundingBox()) as { x: number; width: number }
  expect(x).toBeGreaterThanOrEqual(Math.floor(left))
  expect(x + 172).toBeLessThanOrEqual(Math.ceil(left + width))
  await picture(page, 'page-phone-scrolled')
  // The page itself has not moved sideways.
  expect(await page.evaluate('scrollX')).toBe(0)
  // There is nothing to swipe where all of it is in view.
  await page.setViewportSize({ width: 1280, height: 900 })
  expect(await page.locator('#swipe').isVisible()).toBe(false)
})

for (const colorScheme of ['light', 'dark'] as const) {
  for (const [width, height] of [
    [1280, 900],
    [360, 740],
  ] as const) {
    test(`nobody is kept out, and it looks well: ${colorScheme}, ${width} wide`, async () => {
      const server = await startServer()
      const options = { colorScheme, viewport: { width, height } }
      const [page, other] = [
        await online(await person(home(server), options)),
        await online(await person(home(server))),
      ]
      for (const [i, text] of ['Milk', 'Ask Bob about the release', 'Ship it'].entries()) {
        await add(page, text)
        await drag(page, notes(page).nth(i), ([-230, -10, 170][i] as number) * (width > 800 ? 1 : 0.4), (i - 1) * 60)
      }
      await add(other, 'Written over there')
      await drag(other, notes(other).nth(3), 60, 150)
      for (const said of [
        'Hello',
        'Shall we begin? There is a lot on the list for today, and it will not get shorter.',
      ]) {
        await other.getByRole('textbox', { name: 'Message' }).fill(said)
        await other.keyboard.press('Enter')
        await says(page.locator('#messages p').last(), said)
      }
      await page.getByRole('button', { name: 'Count up' }).dblclick()
      await says(page.locator('#count'), '2')
      await wrote(page, ['Milk', 'Ask Bob about the release', 'Ship it', 'Written over there'])
      await page.waitForTimeout(200)
      await picture(page, `page-${colorScheme}-${width}`)
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
      // Nothing reaches out of its panel.
      const outside = await page.evaluate(() => {
        const right = (element: Element | null) => element?.getBoundingClientRect().right ?? 0
        const all = [...document.querySelectorAll('aside *, .more *')]
        return all.filter(one => right(one) > right(one.closest('section')) + 0.5).map(({ outerHTML }) => outerHTML)
      })
      expect(outside).toEqual([])
      expect(await violationsOf(page)).toEqual([])
    })
  }
}
