// Charts: lines over time with what they are at the end, or where the pointer is.

import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { make, say } from './element'
import { type Figure, moment, textOf } from './format'

interface Line {
  label: string
  /** The name of the figure. */
  field: string
}

export interface ChartOf {
  title: string
  lines: Line[]
  format: (value: number | null) => Figure
  /** Whether what lies far apart is to be seen together, as the median and the longest of times. */
  isLogarithmic?: boolean
  /** Whether steps of the axis are powers of two, as they are of bytes. */
  isBinary?: boolean
}

/** In pixels of the page; parts.css has it, too. */
const HEIGHT = 130
/** What a narrow chart begins with: so many seconds, though fewer are there. */
const SECONDS_MIN = 60
const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power)

type Columns = Record<string, (number | null)[]>

const isDark = matchMedia('(prefers-color-scheme: dark)')

export class Chart {
  readonly element: HTMLElement
  readonly #plot = make('div', { class: 'plot', role: 'img' })
  readonly #values: { number: HTMLElement; unit: HTMLElement }[]
  readonly #time = make('span', { class: 'soft at' })
  #uplot: uPlot | null = null
  #data: uPlot.AlignedData = [[]]
  #from = 0

  constructor(
    readonly of: ChartOf,
    signal: AbortSignal,
  ) {
    this.#values = of.lines.map(() => ({
      number: make('span', { class: 'n' }, '–'),
      unit: make('span', { class: 'u' }),
    }))
    const legend = of.lines.map(({ label }, place) =>
      make(
        'div',
        { class: `line-${place + 1}` },
        make('dt', {}, make('span', { class: 'swatch', 'aria-hidden': 'true' }), label),
        make('dd', {}, this.#values[place]?.number, ' ', this.#values[place]?.unit),
      ),
    )
    this.element = make(
      'section',
      { class: 'panel chart', 'aria-label': of.title },
      make('div', { class: 'title' }, make('h2', {}, of.title), this.#time),
      make('dl', { class: 'legend' }, legend),
      this.#plot,
    )
    const sized = new ResizeObserver(() => this.#fit())
    sized.observe(this.#plot)
    const repaint = () => this.#paint()
    isDark.addEventListener('change', repaint)
    signal.addEventListener('abort', () => {
      sized.disconnect()
      isDark.removeEventListener('change', repaint)
      this.#uplot?.destroy()
    })
  }

  /** Shows these columns from that time on. */
  show(unixMs: number[], columns: Columns, fromMs: number): void {
    let begin = unixMs.length
    while (begin > 0 && (unixMs[begin - 1] ?? 0) >= fromMs) begin -= 1
    const seconds = unixMs.slice(begin).map(at => at / 1000)
    const lines = this.of.lines.map(({ field }) => {
      const values = (columns[field] ?? []).slice(begin)
      // A logarithm has no zero.
      return this.of.isLogarithmic ? values.map(value => (value === null || value <= 0 ? null : value)) : values
    })
    this.#data = [seconds, ...lines]
    // No room for what is not there yet.
    const [first, last] = [seconds[0] ?? 0, seconds.at(-1) ?? 0]
    this.#from = Math.max(fromMs / 1000, Math.min(first, last - SECONDS_MIN))
    if (this.#uplot) this.#uplot.setData(this.#data)
    else this.#paint()
    this.#legend()
    this.#describe()
  }

  #fit(): void {
    const width = this.#plot.clientWidth
    if (!this.#uplot) this.#paint()
    else if (width > 0) this.#uplot.setSize({ width, height: HEIGHT })
  }

  /** Draws it anew, in the colours of now. */
  #paint(): void {
    const width = this.#plot.clientWidth
    if (width === 0 || this.#data[0].length === 0) return
    this.#uplot?.destroy()
    const style = getComputedStyle(this.#plot)
    const color = (name: string) => style.getPropertyValue(name).trim()
    const { format, isLogarithmic, isBinary, lines } = this.of
    const shared = { stroke: color('--chart-text'), font: `11px ${style.fontFamily}`, ticks: { show: false } }
    const grid = { stroke: color('--chart-grid'), width: 1 }
    this.#uplot = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [6, 8, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: 'time' }, drag: { x: false, y: false }, y: false, points: { size: 5 } },
        scales: {
          x: { range: (_, __, last) => [this.#from, Math.max(last ?? 0, this.#from + 1)] },
          y: isLogarithmic ? { distr: 3 } : { range: (_, __, most) => [0, most && most > 0 ? most * 1.08 : 1] },
        },
        axes: [
          { ...shared, size: 22, space: 72, grid: { show: false }, values: (_, at) => at.map(second => clock(second)) },
          {
            ...shared,
            size: 64,
            gap: 4,
            space: 26,
            grid: isLogarithmic ? { ...grid, filter: wholeDecades } : grid,
            ...(isBinary ? { incrs: POWERS } : {}),
            values: (_, at) => at.map(value => (value === null ? '' : textOf(format(value)))),
            ...(isLogarithmic ? { filter: wholeDecades } : {}),
          },
        ],
        series: [
          {},
          ...lines.map((_, place) => ({
            stroke: color(`--line-${place + 1}`),
            width: 1.5,
            points: { show: false },
            ...(lines.length === 1 ? { fill: color('--chart-fill') } : {}),
          })),
        ],
        hooks: { setCursor: [() => this.#legend()] },
      },
      this.#data,
      this.#plot,
    )
  }

  #legend(): void {
    const at = this.#uplot?.cursor.idx
    const row = at ?? this.#data[0].length - 1
    for (const [place, { number, unit }] of this.#values.entries()) {
      const figure = this.of.format(this.#data[place + 1]?.[row] ?? null)
      say(number, figure.number)
      say(unit, figure.unit)
    }
    say(this.#time, at === null || at === undefined ? '' : moment((this.#data[0][at] ?? 0) * 1000))
  }

  /** A sentence a line, for who does not see it. */
  #describe(): void {
    const said = this.of.lines.map(({ label }, place) => {
      const values = ((this.#data[place + 1] ?? []) as (number | null)[]).filter(value => value !== null)
      if (values.length === 0) return `${label}: nothing.`
      const [least, most] = values.reduce(
        ([a, b], value) => [Math.min(a, value), Math.max(b, value)],
        [Infinity, -Infinity],
      )
      const [last, low, high] = [values.at(-1) ?? null, least, most].map(value => textOf(this.of.format(value)))
      return `${label}: ${last} now, from ${low} to ${high}.`
    })
    this.#plot.setAttribute('aria-label', `${this.of.title}. ${said.join(' ')}`)
  }
}

/** Labels for powers of ten alone. */
function wholeDecades(_: uPlot, splits: number[]): (number | null)[] {
  return splits.map(value => (Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? value : null))
}

function clock(second: number): string {
  const at = new Date(second * 1000)
  const two = (value: number) => `${value}`.padStart(2, '0')
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`
  return at.getSeconds() === 0 ? time : `${time}:${two(at.getSeconds())}`
}

/** What stands in the place of charts that have nothing to show yet. */
export function noSeconds(): HTMLElement {
  return make('div', { class: 'empty' }, 'No second is over yet. The server keeps the last hour from its start on.')
}
