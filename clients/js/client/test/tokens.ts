// Tokens that a server with this secret believes.

import { createHmac } from 'node:crypto'

export const SECRET = 'a secret of at least thirty-two bytes'

export function tokenFor(user: string, lifeMs: number, secret = SECRET, claims: object = {}): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Date.now() / 1000
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, iat: Math.floor(now), exp: now + lifeMs / 1000, ...claims })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}
