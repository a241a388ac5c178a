// Counters, gauges and histograms in Prometheus' text format 0.0.4. Own, because the agent needs three kinds of metric and
// every MiB counts: https://prometheus.io/docs/instrumenting/exposition_formats/
/** Content type of what `expose` returns. */
export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** More label sets than this of one metric are counted together under the value `other`. */
const SERIES_MAX = 200

/** Label values in the order in which the metric declared their names. */
export type LabelValues = readonly string[]

/** Only grows. */
export interface Counter {
  /** Adds, by default one. */
  add(labels?: LabelValues, by?: number): void
}

/** Counts values by size. */
export interface Histogram {
  /** Takes a value in the metric's unit. */
  observe(value: number, labels?: LabelValues): void
}

/** One value of a gauge. */
export interface Sample {
  readonly labels?: LabelValues
  readonly value: number
}

interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly lines: () => string[]
}

/** What a metric is called and what it means. */
export interface MetricOptions {
  /** By https://prometheus.io/docs/practices/naming: with unit, counters with `_total`. */
  readonly name: string
  readonly help: string
  /** Names of the labels, default none. */
  readonly labels?: readonly string[]
}

/** All metrics of a process. */
export class Registry {
  readonly #families = new Map<string, Family>()

  /** Adds a counter; without labels it begins at 0. Throws when the name is taken or malformed. */
  counter({ name, help, labels = [] }: MetricOptions): Counter {
    const series = new Series<{ value: number }>(labels, () => ({ value: 0 }))
    this.#add({ name, help, type: 'counter', lines: () => series.lines((key, { value }) => [line(name, key, value)]) })
    return {
      add: (values = [], by = 1) => {
        series.get(values).value += by
      },
    }
  }

  /** Adds a gauge (or, with `type`, a counter that is kept elsewhere), read whenever somebody looks. */
  gauge(
    { name, help, labels = [], type = 'gauge' }: MetricOptions & { readonly type?: 'gauge' | 'counter' },
    read: () => number | readonly Sample[],
  ): void {
    const lines = (): string[] => {
      const samples = read()
      if (typeof samples === 'number') return [line(name, '', samples)]
      return samples.map((sample) => line(name, labelText(labels, sample.labels ?? []), sample.value))
    }
    this.#add({ name, help, type, lines })
  }

  /** Adds a histogram with these upper bounds, ascending, in the metric's unit. */
  histogram({ name, help, labels = [] }: MetricOptions, bounds: readonly number[]): Histogram {
    const make = () => ({ counts: bounds.map(() => 0), count: 0, sum: 0 })
    const series = new Series<ReturnType<typeof make>>(labels, make)
    const lines = (): string[] =>
      series.lines((key, { counts, count, sum }) => {
        const bucket = (bound: string, value: number): string =>
          line(`${name}_bucket`, `${key === '' ? '' : `${key},`}le="${bound}"`, value)
        let seen = 0
        const buckets = bounds.map((bound, index) => {
          seen += counts[index] ?? 0
          return bucket(String(bound), seen)
        })
        return [...buckets, bucket('+Inf', count), line(`${name}_sum`, key, sum), line(`${name}_count`, key, count)]
      })
    this.#add({ name, help, type: 'histogram', lines })
    return {
      observe: (value, values = []) => {
        const one = series.get(values)
        const index = bounds.findIndex((bound) => value <= bound)
        if (index >= 0) one.counts[index] = (one.counts[index] ?? 0) + 1
        one.count++
        one.sum += value
      },
    }
  }

  /** The names of all metrics. */
  names(): string[] {
    return [...this.#families.keys()]
  }

  /** The whole exposition. A metric whose reader throws is left out. */
  expose(): string {
    const parts: string[] = []
    for (const { name, type, help, lines } of this.#families.values()) {
      let found: string[]
      try {
        found = lines()
      } catch {
        continue
      }
      if (found.length === 0) continue
      parts.push(`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${type}`)
      parts.push(...found)
    }
    return `${parts.join('\n')}\n`
  }

  #add(family: Family): void {
    if (!/^[a-z][a-z0-9_]*$/.test(family.name)) throw new RangeError(`${family.name} is not the name of a metric`)
    if (this.#families.has(family.name)) throw new RangeError(`metric ${family.name} exists already`)
    this.#families.set(family.name, family)
  }
}

/** The label sets of one metric, no more than SERIES_MAX. */
class Series<T> {
  readonly #labels: readonly string[]
  readonly #make: () => T
  readonly #values = new Map<string, T>()

  constructor(labels: readonly string[], make: () => T) {
    this.#labels = labels
    this.#make = make
    if (labels.length === 0) this.get([])
  }

  get(values: LabelValues): T {
    const key = labelText(this.#labels, values)
    const known = this.#values.get(key)
    if (known) return known
    if (this.#values.size >= SERIES_MAX && values.some((value) => value !== 'other')) {
      return this.get(this.#labels.map(() => 'other'))
    }
    const made = this.#make()
    this.#values.set(key, made)
    return made
  }

  lines(format: (key: string, value: T) => string[]): string[] {
    return [...this.#values].flatMap(([key, value]) => format(key, value))
  }
}

function labelText(names: readonly string[], values: LabelValues): string {
  return names.map((name, index) => `${name}="${escapeLabel(values[index] ?? '')}"`).join(',')
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function line(name: string, labels: string, value: number): string {
  return `${name}${labels === '' ? '' : `{${labels}}`} ${formatNumber(value)}`
}

function formatNumber(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  return String(value)
}
