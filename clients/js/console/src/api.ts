// Requests to the server that this page comes from.

import { sentence } from './format'
import { askForKey, shownKey } from './session'

/** Why there is no answer: what the server says, or that it is gone (`status` 0). */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message)
  }

  /** What whoever reads this may do about it. */
  get advice(): string {
    switch (this.code) {
      case 'lost':
        return 'Is the server running, and is its --admin-listen the address of this page?'
      case 'forbidden':
        return 'The key in use may not do this: use one of the role admin, or let a rule give it the action admin.'
      case 'rate_limited':
      case 'overloaded':
      case 'timeout':
        return 'The server is busy. Try again in a moment.'
      case 'auth_required':
      case 'auth_failed':
      case 'token_expired':
        return 'Log in with a key or a token of the role admin.'
      case 'bad_cursor':
        return 'The server was started anew since this list was begun: begin at the first page.'
      case 'read_only':
        return 'The disk is almost full. Make room; writes are taken again by themselves.'
      default:
        return ''
    }
  }
}

type Parameters = Record<string, string | number | boolean | null | undefined>

/** A page of the API with parameters; those that are empty are left out. */
function address(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') query.set(name, `${value}`)
  }
  return query.size === 0 ? path : `${path}?${query}`
}

/** Reads. Asks whoever is there for a key where the server wants one. */
export async function read<T>(path: string, parameters: Parameters = {}, signal?: AbortSignal): Promise<T> {
  return (await (await ask(address(path, parameters), signal ? { signal } : {})).json()) as T
}

/** Changes something, or asks what takes a body. */
export async function post<T>(path: string, body: object, signal?: AbortSignal): Promise<T> {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
  return (await (await ask(path, signal ? { ...init, signal } : init)).json()) as T
}

/** An answer that is to be read as it comes. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const key = shownKey()
    const headers = { ...init.headers, ...(key === null ? {} : { Authorization: `Bearer ${key}` }) }
    let response: Response
    try {
      response = await fetch(path, { ...init, headers, cache: 'no-store', redirect: 'error' })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new Refused(0, 'lost', 'The server does not answer.')
    }
    if (response.ok) return response
    const refused = await refusal(response)
    if (response.status !== 401) throw refused
    // Another request may have been answered for meanwhile.
    if (shownKey() === key && !(await askForKey(refused.message))) throw refused
    if (init.signal?.aborted) throw refused
  }
}

async function refusal(response: Response): Promise<Refused> {
  const { status } = response
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string; retry_after_ms?: number } }
    return new Refused(status, error.code, sentence(error.message), error.retry_after_ms ?? null)
  } catch {
    return new Refused(status, 'unknown', `The server answers ${status} without saying why.`)
  }
}
