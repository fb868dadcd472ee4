// A browser for a file of tests, and a page of the board in it. `ANNULUS_CHROMIUM` names another binary.

import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest'

const ARGS =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking ' +
  '--disable-component-update --disable-sync'

let browser: Browser

/** What each page complains of. A test whose page does fails, unless it has looked at it and emptied it. */
export const complaintsOf = new WeakMap<Page, string[]>()

/** Has a browser for the tests of the file that calls this. */
export function withBrowser(): void {
  beforeAll(async () => {
    const executablePath = process.env.ANNULUS_CHROMIUM ?? '/usr/bin/chromium'
    if (!existsSync(executablePath)) throw new Error(`there is no ${executablePath}: run scripts/setup`)
    browser = await chromium.launch({
      executablePath,
      args: ARGS.split(' '),
    })
  })
  afterAll(() => browser?.close())
}

/** A person with a browser of its own. */
export async function person(url: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options })
  onTestFinished(() => context.close())
  const page = await context.newPage()
  await visit(page, url)
  return page
}

/** Opens a page and keeps what it complains of. */
export async function visit(page: Page, url: string): Promise<void> {
  const complaints: string[] = []
  complaintsOf.set(page, complaints)
  page.on('pageerror', error => complaints.push(`${error}`))
  page.on('console', message => {
    // A server that is gone is said by the page itself.
    if (message.type() === 'error' && !/WebSocket|ERR_CONNECTION/.test(message.text())) complaints.push(message.text())
  })
  page.on('request', request => {
    if (new URL(request.url()).host !== new URL(url).host) complaints.push(`it asks for ${request.url()}`)
  })
  onTestFinished(() => expect(complaints).toEqual([]))
  await page.goto(url)
}

/** A page with the policy of the server runs its own script only, and talks to its own server only. */
export async function expectOwnOnly(page: Page): Promise<void> {
  const refused = await page.evaluate(async () => {
    const violations: string[] = []
    document.addEventListener('securitypolicyviolation', event => violations.push(event.effectiveDirective))
    document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.intruder = 1' }))
    document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/x.png' }))
    document.body.setAttribute('style', 'color: red')
    await fetch('http://127.0.0.1:9/').catch(() => undefined)
    await new Promise(resolve => setTimeout(resolve, 100))
    return { violations: violations.sort(), intruder: (window as { intruder?: number }).intruder }
  })
  expect(refused.intruder).toBeUndefined()
  expect(refused.violations).toEqual(['connect-src', 'img-src', 'script-src-elem', 'style-src-attr'])
  complaintsOf.get(page)?.splice(0)
}

/** What keeps people out of a page, by axe: each with the elements that do. */
export async function violationsOf(page: Page): Promise<string[][]> {
  await page.evaluate(axe.source)
  const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
  return violations.map(({ id, nodes }) => [
    id,
    ...nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`),
  ])
}

/** Where pictures of pages are kept, to be looked at. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = resolve(import.meta.dirname, '../../../../target/pictures')
  await mkdir(folder, { recursive: true })
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true })
}
