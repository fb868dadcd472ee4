// How it stands with the connection, the switch that ends it, and the question for a token where the server wants one.

import type { Annulus } from 'annulus-client'
import { byId } from './page'

const OFFLINE = 'annulus-demo-offline'
const TOKEN = 'annulus-demo-token'

/** Whether the switch was on when the page was loaded last. */
export function wasOffline(): boolean {
  return sessionStorage.getItem(OFFLINE) !== null
}

export function storedToken(): string | null {
  return sessionStorage.getItem(TOKEN)
}

export function showStatus(db: Annulus): void {
  const status = byId('status')
  const offline = byId<HTMLInputElement>('offline')
  const problem = byId('problem')
  offline.checked = wasOffline()
  let wasOpen = false
  problem.textContent = `The server does not let this page in: its origin, ${location.origin}, is not among --allowed-origins. Add it there, or open the page at an address that is.`
  const show = () => {
    const { state, pending, error } = db
    const waiting = pending === 0 ? '' : `, ${pending === 1 ? '1 change waits' : `${pending} changes wait`}`
    const said = {
      // What is on its way for a moment is not worth a word.
      open: 'Connected',
      connecting: 'Connecting…',
      offline: `${offline.checked ? 'Offline' : problem.hidden ? 'No server' : 'Not let in'}${waiting}`,
      closed: error?.message ?? 'Closed',
    }[state]
    if (status.textContent !== said) status.textContent = said
    status.dataset.state = state
    const button = byId('say').querySelector('button')
    if (button) button.disabled = state !== 'open'
    if (state === 'closed' && (error?.code.startsWith('auth_') || error?.code === 'token_expired')) ask(error.message)
  }
  db.subscribe(async state => {
    show()
    wasOpen ||= state === 'open'
    if (state === 'offline' && !offline.checked && !wasOpen) problem.hidden = !(await isOriginRefused())
    else if (wasOpen) problem.hidden = true
    show()
  })
  db.on('pending', show)
  db.on('error', error => {
    if (error.code === 'storage_failed') status.title = error.message
  })
  offline.addEventListener('change', () => {
    if (offline.checked) sessionStorage.setItem(OFFLINE, '1')
    else sessionStorage.removeItem(OFFLINE)
    if (offline.checked) db.disconnect()
    else db.connect()
    show()
  })
}

/** Whether `--allowed-origins` keeps this page out. A browser does not say why it has no WebSocket; the server does. */
async function isOriginRefused(): Promise<boolean> {
  try {
    return (await fetch('/v1', { method: 'POST' })).status === 403
  } catch {
    return false
  }
}

function ask(problem: string): void {
  const dialog = byId<HTMLDialogElement>('token-dialog')
  byId('token-problem').textContent = `The server says: ${problem}.`
  byId('token-form').addEventListener('submit', () => {
    sessionStorage.setItem(TOKEN, byId<HTMLInputElement>('token').value.trim())
    location.reload()
  })
  if (!dialog.open) dialog.showModal()
}
