// Each page of the console, of the real server, in a real browser, with people behind it: what it shows is what the API says, and what it
// changes is changed for everybody.

import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connect, folder, startServer, until } from '../../client/test/server'
import { SECRET } from '../../client/test/tokens'
import { complaintsOf, withBrowser } from '../../demo/test/browser'
import { adminToken, api, confirm, crowd, figure, manyMaps, open, PATIENCE, rows, says, startAdmin } from './console'

withBrowser()

const outcome = '#outcome'

test('now: the figures are those of the API, live, summed and of each shard', async () => {
  const server = await startAdmin({ onDisk: true })
  await crowd(server, 8)
  const page = await open(server)
  await says(page.locator('#state'), 'Serving')
  await says(figure(page, 'Connections'), /^8 ?$/)
  expect(await page.locator('.chart').count()).toBe(12)
  const legend = page.locator('.chart', { hasText: 'Messages' }).locator('dd').first()
  await says(legend, /^[1-9][\d,.]* \/s$/)
  // It is drawn: there are pixels that are not the ground.
  const isDrawn = page.locator('.chart canvas').evaluateAll(all =>
    all.map(canvas => {
      const { width, height } = canvas as HTMLCanvasElement
      const data = (canvas as HTMLCanvasElement).getContext('2d')?.getImageData(0, 0, width, height).data
      return data?.some(value => value !== 0) ?? false
    }),
  )
  expect(await isDrawn).toEqual(new Array(12).fill(true))
  await says(page.locator('.plot').first(), '')
  expect(await page.locator('.plot').first().getAttribute('aria-label')).toMatch(
    /^Connections\. connections: 8 now, from/,
  )

  await expect.poll(() => rows(page).count(), PATIENCE).toBe(2)
  const of = (column: string) =>
    page.locator('#page table').evaluate((table, column) => {
      const [head, ...rest] = [...(table as HTMLTableElement).rows]
      const place = [...(head?.cells ?? [])].findIndex(cell => cell.textContent === column)
      return rest.map(row => Number.parseFloat(row.cells[place]?.textContent ?? ''))
    }, column)
  expect((await of('Connections')).reduce((sum, value) => sum + value)).toBe(8)
  // A second later there is another one, by itself.
  const { unix_ms } = await api<{ unix_ms: number[] }>(server, '/admin/history?limit=1')
  const later = async () => (await api<{ unix_ms: number[] }>(server, '/admin/history?limit=1')).unix_ms[0] ?? 0
  await expect.poll(later, PATIENCE).toBeGreaterThan(unix_ms[0] ?? 0)

  await page.getByLabel('Charts of').selectOption('shard 1')
  await expect.poll(() => page.locator('.chart').count(), PATIENCE).toBe(9)
  const ofOne = (await of('Connections'))[1] ?? 0
  await says(page.locator('.chart dd').first(), new RegExp(`^${ofOne} ?$`))
  await page.getByLabel('60 min').check()
  await page.getByRole('button', { name: 'Check now' }).click()
  await says(page.locator(outcome), /^All well: [\d,]+ places looked at/)
})

test('now: the second answer has the figures of each shard, and they are shown', async () => {
  const server = await startAdmin()
  const page = await open(server, 'drain')
  let answers = 0
  await page.route('**/admin/history*', async route => {
    const nothing = { interval_ms: 1000, unix_ms: [], sum: {}, shards: [] }
    if (answers === 2) return route.fulfill({ json: nothing })
    const response = await route.fetch()
    const { unix_ms } = (await response.json()) as { unix_ms: number[] }
    if (unix_ms.length > 0) answers += 1
    return route.fulfill({ response })
  })
  await page.getByRole('link', { name: 'Now', exact: true }).click()
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(2)
  expect(answers).toBe(2)
})

test('clients: found by user, address and dialect; one is seen live, and closed', async () => {
  const server = await startAdmin({ secret: SECRET })
  const people = await crowd(server, 6, place => (place < 2 ? 'anna' : `user-${place}`))
  const page = await open(server, 'clients')
  await page.getByLabel('API key or token').fill(adminToken())
  await page.getByRole('button', { name: 'Log in' }).click()
  // One more is the console itself, whose key is a connection of its own.
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(7)
  await page.getByLabel('User, the whole name').fill('anna')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(2)
  expect(page.url()).toMatch(/#\/clients\?user=anna$/)
  await page.getByLabel('Address or network').fill('10.0.0.0/8')
  await page.getByRole('button', { name: 'Search' }).click()
  await says(page.locator('.empty'), 'No connection is like that.')
  await page.getByLabel('Address or network').fill('127.0.0.0/8')
  await page.getByLabel('Dialect').selectOption('v1')
  await page.getByRole('button', { name: 'Search' }).click()
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(2)
  await page.getByLabel('Address or network').fill('nonsense')
  await page.getByRole('button', { name: 'Search' }).click()
  await says(page.locator('.problem'), /^Address is an IP address, or a network.*400 bad_request/)
  await page.getByRole('button', { name: 'Clear' }).click()
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(7)

  await page.getByLabel('User, the whole name').fill('user-3')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(1)
  await rows(page).getByRole('link').click()
  await says(figure(page, 'Subscriptions'), /^[3-7]$/)
  await says(page.locator('#page'), /board:3.*tags|tags.*board:3/)
  await says(page.getByRole('link', { name: 'chat:1' }), 'chat:1')
  await says(figure(page, 'Received, rate'), /B\/s$/)
  await page.getByRole('button', { name: 'Close this connection' }).click()
  await confirm(page, /It closes connection \d+-\d+-\d+ of user-3, from 127\.0\.0\.1/, 'Close')
  await says(page.locator(outcome), 'Closed 1 connection.')
  await until(() => people[3]?.state === 'closed')
  await says(page.locator('#page'), 'This connection is gone.')
  complaintsOf.get(page)?.splice(0)
})

test('users: all of one are closed, tokens are revoked', async () => {
  const revoked = join(await folder(), 'revoked')
  await writeFile(revoked, '', { mode: 0o600 })
  const server = await startAdmin({ secret: SECRET, flags: ['--revoked', revoked] })
  const people = await crowd(server, 4, place => (place < 2 ? 'anna' : `bert-${place}`))
  const page = await open(server, 'users')
  await page.getByLabel('API key or token').fill(adminToken())
  await page.keyboard.press('Enter')
  await page.getByLabel('Name begins with').fill('bert')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(2)
  await page.getByLabel('Name begins with').fill('anna')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(1)
  await says(rows(page), /anna2/)
  await page.getByRole('button', { name: 'Close all of this user' }).click()
  await confirm(page, /all connections of anna/, 'Close')
  await says(page.locator(outcome), 'Closed 2 connections.')
  await until(() => people.slice(0, 2).every(db => db.state === 'closed'))
  await page.getByRole('button', { name: 'Revoke tokens' }).click()
  await confirm(page, /revokes all tokens of anna that were issued until now/, 'Revoke')
  await says(page.locator(outcome), 'Revoked all tokens of anna')
  expect(await readFile(revoked, 'utf8')).toMatch(/anna/)
  expect(people[2]?.state).toBe('open')
  complaintsOf.get(page)?.splice(0)
})

test('maps: found, looked into, written and deleted for everybody, exported', async () => {
  const server = await startAdmin({ onDisk: true })
  const [ada] = await crowd(server, 4)
  const page = await open(server, 'maps')
  await page.getByLabel('Name begins with').fill('board:')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(4)
  await page.getByLabel('Type').selectOption('counter')
  await page.getByLabel('Name begins with').fill('')
  await page.keyboard.press('Enter')
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(1)
  await says(rows(page), /^viewscounter/)
  await page.getByRole('button', { name: 'Clear' }).click()
  await page.getByRole('link', { name: 'board:0', exact: true }).click()
  await says(page.locator('h1'), 'Map board:0')
  await says(figure(page, 'Type'), 'lww')
  await page.getByLabel('Key begins with').fill('card-')
  await page.keyboard.press('Enter')
  const ofKey = (key: string) => rows(page).filter({ has: page.getByRole('link', { name: key, exact: true }) })
  await says(ofKey('card-1'), 'Write the release notes')
  await says(ofKey('card-2'), 'deleted')

  await page.getByRole('link', { name: 'card-1' }).click()
  await says(page.locator('pre.value'), '"title": "Write the release notes"')
  const { state } = await api<{ state: { stamp: string } }>(server, '/admin/key?map=board:0&key=card-1')
  await says(page.locator('.facts'), /./)
  await says(page.locator('#page'), state.stamp)
  await page.getByLabel('Value', { exact: true }).last().fill('{"title": ')
  await page.getByRole('button', { name: 'Write…' }).click()
  expect(await page.getByRole('dialog').count()).toBe(0)
  await page.getByLabel('Value', { exact: true }).last().fill('{"title": "Written by the console"}')
  // Somebody else is quicker.
  await ada?.map('board:0').set('card-1', { title: 'Quicker' })
  await page.getByRole('button', { name: 'Write…' }).click()
  await says(page.getByRole('dialog'), 'The key has changed since it was shown here.')
  await confirm(page, /It writes \{"title":"Written by the console"\} to key card-1 of map board:0/, 'Write')
  await says(page.locator(outcome), 'Done, and on the disk.')
  await until(() => JSON.stringify(ada?.map('board:0').get('card-1')) === '{"title":"Written by the console"}')
  await says(page.locator('pre.value'), 'Written by the console')
  await page.getByRole('button', { name: 'Delete this key' }).click()
  await page.keyboard.press('Escape')
  expect(ada?.map('board:0').get('card-1')).toBeDefined()
  await page.getByRole('button', { name: 'Delete this key' }).click()
  await confirm(page, /It deletes key card-1 of map board:0, for everybody/, 'Delete')
  await until(() => ada?.map('board:0').get('card-1') === undefined)
  await says(figure(page, 'State'), 'deleted')

  await page.goto(`http://${server.adminAddress}/console/#/key?map=tags&key=card-1`)
  await expect.poll(() => page.getByRole('button', { name: /^Remove the tag/ }).count(), PATIENCE).toBe(2)
  await rows(page).filter({ hasText: 'urgent' }).getByRole('button').click()
  await confirm(page, /It removes the tag .* with the value "urgent"/, 'Remove')
  await expect.poll(() => page.getByRole('button', { name: /^Remove the tag/ }).count(), PATIENCE).toBe(1)
  await page.goto(`http://${server.adminAddress}/console/#/key?map=views&key=card-1`)
  await page.getByLabel('By how much').fill('-2')
  await page.getByRole('button', { name: 'Add a number…' }).click()
  await confirm(page, /It writes -2 to key card-1 of map views/, 'Add a number')
  await says(figure(page, 'Value'), '10')

  await page.goto(`http://${server.adminAddress}/console/#/map?map=views`)
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Export this map' }).click()
  const kept = await (await download).path()
  const lines = (await readFile(kept, 'utf8')).trim().split('\n')
  expect(lines.some(line => line.includes('"views"') && line.includes('card-1'))).toBe(true)
  expect(lines.some(line => line.includes('"board:0"'))).toBe(false)
  await says(page.locator(outcome), /^Exported .* as views\.ndjson\.$/)
})

test('maps: thousands are paged by the server, and a rare one is found', async () => {
  const server = await startAdmin()
  await manyMaps(server, 'many:', 20_000)
  await manyMaps(server, 'rare:', 1)
  const asked: URL[] = []
  const page = await open(server, 'now')
  page.on('request', request => {
    if (request.url().includes('/admin/maps')) asked.push(new URL(request.url()))
  })
  await page.getByRole('link', { name: 'Maps', exact: true }).click()
  await says(page.locator('.status'), /^Page 1: 50 maps, as of .*20,001 maps in all\.$/)
  const first = await rows(page).first().textContent()
  await page.getByRole('button', { name: 'Next' }).click()
  await says(page.locator('.status'), /^Page 2: 50 maps/)
  await page.getByRole('button', { name: 'Next' }).click()
  await says(page.locator('.status'), /^Page 3: 50 maps/)
  expect(await rows(page).count()).toBe(50)
  await page.getByRole('button', { name: 'Back' }).click()
  await page.getByRole('button', { name: 'Back' }).click()
  await says(page.locator('.status'), /^Page 1: 50 maps/)
  expect(await rows(page).first().textContent()).toBe(first)
  await page.getByLabel('Name begins with').fill('rare:')
  await page.keyboard.press('Enter')
  await says(rows(page), 'rare:0')
  expect(await rows(page).count()).toBe(1)
  await says(page.locator('.status'), /^1 map, as of/)
  expect(Math.max(...asked.map(url => Number(url.searchParams.get('limit'))))).toBeLessThanOrEqual(50)
  // Five pages, and as many as a search looks through 20 001 places in.
  expect(asked.length).toBeLessThanOrEqual(5 + 4)
})

test('maps: one that is on the disk only is loaded after a question of its own', async () => {
  const server = await startAdmin({ onDisk: true })
  const ops = Array.from({ length: 40 }, (_, place) => ({ map: 'cold', key: `key-${place}`, op: 'set', value: place }))
  await api(server, '/api/write', { ops, ack: 'durable' })
  await server.stop()
  await server.start()
  const page = await open(server, 'map?map=cold')
  await page.getByRole('button', { name: 'Load the map' }).click()
  await says(page.locator('.status'), /^40 keys, as of/)
  await says(rows(page).filter({ hasText: 'shard 0' }), 'loaded')
  await says(rows(page).filter({ hasText: 'shard 1' }), 'loaded')
  expect(await page.getByRole('button', { name: 'Load the map' }).count()).toBe(0)
  await page.goto(`http://${server.adminAddress}/console/#/map?map=never`)
  await page.getByRole('button', { name: 'Load the map' }).click()
  await says(page.locator('.empty'), /There is no such map\.|The map has no keys\./)
  complaintsOf.get(page)?.splice(0)
})

test('rooms and channels: who is in one, what was said in the other', async () => {
  const server = await startAdmin()
  await crowd(server, 5)
  const page = await open(server, 'rooms')
  await says(rows(page).filter({ hasText: 'doc-1' }), /^doc-15/)
  await says(rows(page).filter({ hasText: 'chat:1' }), /^chat:15/)
  await page.getByRole('link', { name: 'doc-1' }).click()
  await expect.poll(() => rows(page).count(), PATIENCE).toBe(5)
  await says(page.locator('tbody'), '{"cursor":4}')
  await page.goBack()
  await page.getByRole('link', { name: 'chat:1' }).click()
  await says(page.locator('tbody'), 'good morning')
  await page.goto(`http://${server.adminAddress}/console/#/room?room=nobody`)
  await says(page.locator('.empty'), 'Nobody of /v1 is in this room.')
})

test('rules: a question, and what each rule says to it', async () => {
  const rules = join(await folder(), 'rules.toml')
  await writeFile(rules, '[[rule]]\nallow = ["read", "write"]\nmaps = ["doc:{user.id}:*"]\n')
  const server = await startAdmin({ secret: SECRET, flags: ['--rules', rules] })
  const page = await open(server, 'rules')
  await page.getByLabel('API key or token').fill(adminToken())
  await page.keyboard.press('Enter')
  await page.getByLabel('User').fill('anna')
  await page.getByLabel('Action').selectOption('write')
  await page.getByLabel('Map').fill('doc:anna:1')
  await page.getByRole('button', { name: 'Explain' }).click()
  await says(page.locator('.verdict'), 'Allowed: anna, write, doc:anna:1.')
  await says(rows(page), /rule 1/)
  await page.getByLabel('Map').fill('doc:bert:1')
  await page.keyboard.press('Enter')
  await says(page.locator('.verdict'), /^(Denied|Forbidden|Refused|Not allowed): anna, write, doc:bert:1\.$/)
  complaintsOf.get(page)?.splice(0)
})

test('storage: what is on the disk, and a backup of it', async () => {
  const server = await startAdmin({ onDisk: true })
  await crowd(server, 2)
  const page = await open(server, 'storage')
  await says(figure(page, 'Written since the start'), /^[1-9].* (KiB|MiB)$/)
  await says(figure(page, 'Sync, median'), /(µs|ms)$/)
  const into = join(await folder(), 'monday')
  await page.getByLabel('Directory').fill(into)
  await page.getByRole('button', { name: 'Back up now…' }).click()
  await confirm(page, new RegExp(`a copy of all maps, as they are now, to ${into}`), 'Back up')
  await says(figure(page, 'State'), 'done')
  expect((await stat(into)).isDirectory()).toBe(true)
  // There is something there now.
  await page.getByRole('button', { name: 'Back up now…' }).click()
  await confirm(page, /./, 'Back up')
  await expect.poll(() => page.locator('#outcome[data-bad=true], #page .bad').count(), PATIENCE).toBeGreaterThan(0)
  complaintsOf.get(page)?.splice(0)

  const inMemory = await open(await startAdmin(), 'storage')
  await says(inMemory.locator('.empty'), 'Maps are kept in memory only')
})

test('log: what was changed by whom, and no more than is asked for', async () => {
  // As many as any machine lets it have, as it would warn of fewer.
  const server = await startAdmin({ flags: ['--max-connections', '100'] })
  const page = await open(server, 'log')
  await says(page.locator('.log'), 'Nothing to worry about')
  await api(server, '/admin/settings', { 'heartbeat-ms': 15000 })
  await says(page.locator('.log li').first(), /audit.*nobody from 127\.0\.0\.1.*heartbeat-ms/)
  await page.getByLabel('Which').selectOption('errors')
  await says(page.locator('.log'), 'No line is like that.')
  await page.getByLabel('Which').selectOption('changes by people')
  await page.getByLabel('Has the words').fill('HEARTBEAT')
  await expect.poll(() => page.locator('.log time').count(), PATIENCE).toBe(1)
})

test('log: what a server says that was started anew is in the place of what the one before has said', async () => {
  const flags = ['--max-connections', '100']
  const server = await startAdmin({ flags })
  const page = await open(server, 'log')
  for (const ms of [15001, 15002, 15003]) await api(server, '/admin/settings', { 'heartbeat-ms': ms })
  await expect.poll(() => page.locator('.log time').count(), PATIENCE).toBe(3)
  // It says something before the page asks it for the first time.
  await page.route('**/admin/log*', route => route.abort('connectionrefused'))
  await server.stop('SIGKILL')
  const next = await startServer({ flags: ['--admin-listen', server.adminAddress, ...flags] })
  await api(next, '/admin/settings', { 'heartbeat-ms': 16001 })
  await page.unroute('**/admin/log*')
  await says(page.locator('.log li').first(), /audit.*16001/)
  expect(await page.locator('.log time').count()).toBe(1)
})

test('settings: hot ones are changed after a question, and a wrong one says why not', async () => {
  const server = await startAdmin()
  const page = await open(server, 'settings')
  await page.getByLabel('heartbeat-ms').fill('15000')
  await says(page.locator('.sticky .status'), '1 setting to be changed.')
  await page.getByRole('button', { name: 'Change…' }).click()
  await confirm(page, /heartbeat-ms: 20000 → 15000/, 'Change')
  await says(page.locator(outcome), 'Changed heartbeat-ms.')
  await says(rows(page).filter({ hasText: 'heartbeat-ms' }), /15 s.*changed here; was 20000/)
  const { settings } = await api<{ settings: { name: string; value: unknown; source: string }[] }>(
    server,
    '/admin/settings',
  )
  expect(settings.find(({ name }) => name === 'heartbeat-ms')).toMatchObject({ value: 15000, source: 'changed' })
  await page.getByLabel('heartbeat-ms').fill('-1')
  await page.getByRole('button', { name: 'Change…' }).click()
  await confirm(page, /heartbeat-ms: 15000 → -1/, 'Change')
  await expect.poll(() => page.locator('#outcome[data-bad=true]').count(), PATIENCE).toBe(1)
  await says(page.locator(outcome), /heartbeat/)
  await page.getByRole('button', { name: 'Undo' }).click()
  expect(await page.getByLabel('heartbeat-ms').inputValue()).toBe('15000')
  await page.getByLabel('Name has').fill('listen')
  await expect.poll(() => rows(page).filter({ visible: true }).count(), PATIENCE).toBe(3)
  await says(rows(page).filter({ hasText: 'admin-listen' }), 'flag')
  complaintsOf.get(page)?.splice(0)
})

test('drain: a countdown that is cancelled, and one that is not', async () => {
  const server = await startAdmin()
  const db = connect(server)
  await until(() => db.state === 'open')
  const page = await open(server, 'drain')
  await says(figure(page, 'Connections'), '1')
  await page.getByLabel('Begin in, seconds').fill('60')
  await page.getByRole('button', { name: 'Drain…' }).click()
  await confirm(page, /In 60 seconds this server begins to end: it closes 1 connection/, 'Drain in 60 s')
  await says(page.locator('.clock'), /^(0:5\d|1:00)$/)
  await says(page.locator('#state'), /^Drains in 5\d s$/)
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Cancel the countdown')
  await page.keyboard.press('Enter')
  await says(page.locator(outcome), 'The countdown is cancelled.')
  expect((await api<{ phase: string }>(server, '/admin/drain')).phase).toBe('serving')
  expect(db.state).toBe('open')
  await page.getByLabel('Begin in, seconds').fill('1')
  await page.getByRole('button', { name: 'Drain…' }).click()
  await confirm(page, /./, 'Drain in 1 s')
  await until(() => db.state === 'offline')
  await says(page.locator('#state'), 'No answer')
  await says(page.locator('#lost'), /^The server has not answered since \d\d:\d\d:\d\d/)
  complaintsOf.get(page)?.splice(0)
})
