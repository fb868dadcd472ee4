// @vitest-environment happy-dom
// What turns the pages of something that is drawn anew with each.

import { expect, test } from 'vitest'
import { pager } from '../src/paging'

const named = (element: HTMLElement, name: string) => {
  const found = [...element.querySelectorAll('button')].find(({ textContent }) => textContent === name)
  if (!found) throw new Error(`there is no ${name}`)
  return found
}

test('a button turns one page, however often it is pressed before that is drawn', () => {
  const cursors = ['']
  let draws = 0
  const drawn = (next: string | null) => pager('Page', { cursors, next, again: () => (draws += 1) })
  const first = drawn('b')
  expect(named(first, 'Back').disabled).toBe(true)
  for (let press = 0; press < 2; press++) named(first, 'Next').click()
  expect(cursors).toEqual(['', 'b'])
  expect(draws).toBe(1)
  const last = drawn(null)
  expect(named(last, 'Next').disabled).toBe(true)
  for (let press = 0; press < 2; press++) named(last, 'Back').click()
  expect(cursors).toEqual([''])
  expect(draws).toBe(2)
  named(last, 'Refresh').click()
  expect(draws).toBe(3)
})

test('what is drawn by somebody else has no Refresh, and buttons have the names of what they turn', () => {
  const offsets: (number | undefined)[] = [undefined]
  const turned = pager('Page', { cursors: offsets, next: 7, names: ['Newer', 'Older'] })
  expect(turned.querySelectorAll('button').length).toBe(2)
  named(turned, 'Older').click()
  expect(offsets).toEqual([undefined, 7])
})
