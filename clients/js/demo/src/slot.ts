// A tab is a person of its own here, with a store and a connection of its own. So that a tab finds its store again,
// and closed ones leave no more stores behind than were ever open at once, stores are numbered and a tab takes one.

const KEY = 'annulus-demo-slot'
const WAIT_MS = 200

/** The number of the store that is this tab's, until it is closed. */
export async function takeSlot(): Promise<string> {
  const known = sessionStorage.getItem(KEY)
  const slot = (await locked(known)) ?? `x${Math.random().toString(36).slice(2, 8)}`
  sessionStorage.setItem(KEY, slot)
  return slot
}

/** Where pages are served from elsewhere without TLS there are no locks; then a reload still finds what it had. */
async function locked(known: string | null): Promise<string | null> {
  if (!navigator.locks) return known
  // A page that reloads may still have it for a moment.
  if (known !== null && (await take(known, { signal: AbortSignal.timeout(WAIT_MS) }))) return known
  for (let number = 1; ; number++) {
    if (await take(`${number}`, { ifAvailable: true })) return `${number}`
  }
}

function take(slot: string, options: LockOptions): Promise<boolean> {
  return new Promise(resolve => {
    const hold = (lock: Lock | null) => {
      resolve(lock !== null)
      return lock && new Promise(() => undefined)
    }
    navigator.locks.request(`annulus-demo-${slot}`, options, hold).catch(() => resolve(false))
  })
}
