// Figures as people read them: a number with the unit apart, so that numbers line up below each other.

export interface Figure {
  number: string
  unit: string
}

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const NOTHING: Figure = { number: '–', unit: '' }

type Maybe = number | null | undefined

const digits = (value: number) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2))

export function count(value: Maybe, unit = ''): Figure {
  if (value === null || value === undefined) return NOTHING
  return { number: Number.isInteger(value) || value >= 100 ? WHOLE.format(value) : digits(value), unit }
}

export function bytes(value: Maybe, suffix = ''): Figure {
  if (value === null || value === undefined) return NOTHING
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let [scaled, place] = [value, 0]
  while (scaled >= 1024 && place < units.length - 1) [scaled, place] = [scaled / 1024, place + 1]
  return { number: place === 0 ? WHOLE.format(scaled) : digits(scaled), unit: `${units[place]}${suffix}` }
}

export const perSecond = (value: Maybe) => count(value, '/s')
export const bytesPerSecond = (value: Maybe) => bytes(value, '/s')

/** A short time, from microseconds. */
export function micros(value: Maybe): Figure {
  if (value === null || value === undefined) return NOTHING
  if (value < 1000) return { number: WHOLE.format(value), unit: 'µs' }
  if (value < 1e6) return { number: digits(value / 1e3), unit: 'ms' }
  return { number: digits(value / 1e6), unit: 's' }
}

/** A long time, from milliseconds: the two largest units of it. */
export function duration(value: Maybe): Figure {
  if (value === null || value === undefined) return NOTHING
  const s = Math.floor(value / 1000)
  const [d, h, min] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60]
  if (s < 1) return { number: WHOLE.format(value), unit: 'ms' }
  if (s < 60) return { number: `${s}`, unit: 's' }
  if (s < 3600) return { number: `${min}`, unit: `min ${s % 60} s` }
  return d === 0 ? { number: `${h}`, unit: `h ${min} min` } : { number: `${d}`, unit: `d ${h} h` }
}

export const textOf = ({ number, unit }: Figure) => (unit === '' ? number : `${number} ${unit}`)

/** A time of the day, with the date where that is another one. */
export function moment(unixMs: Maybe): string {
  if (unixMs === null || unixMs === undefined) return '–'
  const at = new Date(unixMs)
  const two = (value: number) => `${value}`.padStart(2, '0')
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  if (at.toDateString() === new Date().toDateString()) return time
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`
}

/** What the server says, as a sentence of its own. */
export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(begun) ? begun : `${begun}.`
}

/** So many of something, in words. */
export function several(value: number, one: string, many = `${one}s`): string {
  return `${WHOLE.format(value)} ${value === 1 ? one : many}`
}
