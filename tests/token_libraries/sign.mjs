// Prints a line of JSON for each algorithm: its name, a token that jose has signed, and the key to verify it with.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.argv[2] + '/'))
const jose = await import(pathToFileURL(require.resolve('jose')))

const SECRET = new TextEncoder().encode('a secret of jose, longer than the longest hash: 0123456789abcdef0123456789abcdef')

async function line(algorithm, key, header, kind, verifying) {
  const token = await new jose.SignJWT({ roles: ['member'], team: { a: [1, 2.5] } })
    .setProtectedHeader({ alg: algorithm, typ: 'JWT', ...header })
    .setSubject('Jörg')
    .setIssuedAt()
    .setNotBefore('0s')
    .setExpirationTime('5m')
    .sign(key)
  console.log(JSON.stringify({ algorithm, token, kind, key: Buffer.from(verifying).toString('base64') }))
}

for (const algorithm of ['HS256', 'HS384', 'HS512']) await line(algorithm, SECRET, {}, 'secret', SECRET)
for (const algorithm of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']) {
  const { publicKey, privateKey } = await jose.generateKeyPair(algorithm, { extractable: true })
  await line(algorithm, privateKey, {}, 'pem', await jose.exportSPKI(publicKey))
  const key = { ...(await jose.exportJWK(publicKey)), kid: 'k1', alg: algorithm, use: 'sig' }
  await line(algorithm, privateKey, { kid: 'k1' }, 'set', JSON.stringify({ keys: [key] }))
}
