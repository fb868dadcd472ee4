// The key that requests show. It is in this tab only.

import { byId, say } from './element'

const KEY = 'annulus-console-key'

let asking: Promise<boolean> | null = null

export function shownKey(): string | null {
  return sessionStorage.getItem(KEY)
}

/** Asks whoever is there for a key, once for all who want one; false if there is no answer. */
export function askForKey(problem: string): Promise<boolean> {
  asking ??= new Promise<boolean>(answer => {
    const dialog = byId<HTMLDialogElement>('login')
    const input = byId<HTMLInputElement>('key')
    say(byId('login-problem'), `The server says: ${problem}`)
    input.value = ''
    dialog.returnValue = ''
    // The value of its button; of whoever leaves by Escape there is none.
    const closed = () => {
      const isGiven = dialog.returnValue === 'yes'
      if (isGiven) sessionStorage.setItem(KEY, input.value.trim())
      input.value = ''
      showForget()
      answer(isGiven)
    }
    dialog.addEventListener('close', closed, { once: true })
    dialog.showModal()
    input.focus()
  }).finally(() => (asking = null))
  return asking
}

/** Lets the key be forgotten where there is one. */
function showForget(): void {
  byId('forget').hidden = shownKey() === null
}

export function watchForget(): void {
  showForget()
  byId('forget').addEventListener('click', () => {
    sessionStorage.removeItem(KEY)
    location.reload()
  })
}
