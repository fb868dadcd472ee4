// Bytes as text, as values are JSON.

/** As many as the arguments of a call may be. */
const STEP = 0x2000

export function encode(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += STEP) text += String.fromCharCode(...bytes.subarray(i, i + STEP))
  return btoa(text)
}

/** `null`: it is none. */
export function decode(text: unknown): Uint8Array | null {
  if (typeof text !== 'string') return null
  try {
    return Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
  } catch {
    return null
  }
}
