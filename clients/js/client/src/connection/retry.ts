// Refusals that pass, so that the same request may be carried out later (docs/protocol.md, Errors).

/** How long to wait where the server does not say. */
export const RETRY_MS = 2_000

const PASSES = new Set(['timeout', 'overloaded', 'load_failed', 'rate_limited'])

export function passes(code: string): boolean {
  return PASSES.has(code)
}
