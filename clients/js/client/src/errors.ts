// What can go wrong, with a code for each that a program may act on.

/** Codes that the server sends (docs/protocol.md, Errors). */
export type ServerCode =
  | 'bad_json'
  | 'bad_request'
  | 'unknown_type'
  | 'not_joined'
  | 'key_invalid'
  | 'value_invalid'
  | 'too_large'
  | 'map_type'
  | 'clock_drift'
  | 'too_many_subscriptions'
  | 'rate_limited'
  | 'timeout'
  | 'auth_unavailable'
  | 'auth_required'
  | 'auth_failed'
  | 'token_expired'
  | 'overloaded'
  | 'load_failed'
  | 'cancelled'
  | 'forbidden'
  | 'read_only'

/** Codes of the client's own. */
export type ClientCode =
  /** The connection ended before the answer came: it may have been carried out or not. */
  | 'connection_lost'
  /** The client was closed, or the server does not want it back. */
  | 'closed'
  /** Another session of the same user has taken over (4009). */
  | 'replaced'
  /** The identity may not use this server (4003). */
  | 'denied'
  /** The token callback has failed. */
  | 'token_failed'
  /** The offline store could not be read or written. */
  | 'storage_failed'
  /** Another program has the offline store open. */
  | 'storage_in_use'
  /** There is no WebSocket here, and none was given. */
  | 'no_websocket'

export type ErrorCode = ServerCode | ClientCode

/** Every error of this package. `code` says what it is; a code that a newer server sends is passed on as it is. */
export class AnnulusError<C extends string = ErrorCode> extends Error {
  readonly code: C
  /** When trying again makes sense, in milliseconds from then. */
  readonly retryAfterMs: number | undefined

  constructor(code: C, message: string, details: { retryAfterMs?: number | undefined; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'AnnulusError'
    this.code = code
    this.retryAfterMs = details.retryAfterMs
  }

  /** Whether `error` is one of this package's, with one of these codes, or with any. */
  static is<C extends ErrorCode>(error: unknown, ...codes: C[]): error is AnnulusError<C> {
    return error instanceof AnnulusError && (codes.length === 0 || codes.includes(error.code as C))
  }
}
