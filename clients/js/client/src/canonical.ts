// Values as text that is the same for everybody (docs/protocol.md, Values), and the order of texts by their UTF-8 bytes.

/** Negative, 0 or positive as `a` is before, equal to or behind `b` by UTF-8 bytes, which is the order of code points. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) {
      // Halves of surrogate pairs stand for code points behind all others.
      const xIsHalf = x >= 0xd800 && x < 0xe000
      const yIsHalf = y >= 0xd800 && y < 0xe000
      return xIsHalf === yIsHalf ? x - y : xIsHalf ? 1 : -1
    }
  }
  return a.length - b.length
}

/** The canonical JSON of a value. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value !== null && typeof value === 'object') {
    const fields = Object.entries(value).sort(([a], [b]) => compareText(a, b))
    return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

/** What a value looks like once it was sent: a copy that its owner cannot change any more. */
export function plain<T>(value: T): T {
  const text = JSON.stringify(value)
  if (text === undefined) throw new TypeError(`${typeof value} is no value that JSON has`)
  return JSON.parse(text) as T
}
