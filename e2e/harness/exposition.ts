// A strict reader of Prometheus' text format 0.0.4: what a server would only forgive, it refuses, with the line.
// https://prometheus.io/docs/instrumenting/exposition_formats/

/** One series. */
export type ExposedSample = {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** One metric with all its series. */
export type ExposedFamily = {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly samples: readonly ExposedSample[]
}

const NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped']
const SAMPLE = /^([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (\S+)$/

/** Reads an exposition. Throws for anything that the format or the naming conventions do not allow. */
export function parseExposition(text: string): Map<string, ExposedFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line is not ended')
  const families = new Map<string, ExposedFamily & { samples: ExposedSample[] }>()
  const seen = new Set<string>()
  let help: { name: string; text: string } | undefined
  let current: (ExposedFamily & { samples: ExposedSample[] }) | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const refuse = (why: string): never => {
      throw new Error(`${why}: ${line}`)
    }
    if (line.startsWith('# HELP ')) {
      const [, , name = '', ...words] = line.split(' ')
      if (!NAME.test(name) || words.join(' ').trim() === '') refuse('no name or no help')
      help = { name, text: words.join(' ') }
    } else if (line.startsWith('# TYPE ')) {
      const [, , name = '', type = '', ...more] = line.split(' ')
      if (help?.name !== name) refuse('the type does not follow its help')
      if (!TYPES.includes(type) || more.length > 0) refuse('unknown type')
      if (families.has(name)) refuse('the metric is there twice')
      if (type === 'counter' && !name.endsWith('_total')) refuse('a counter ends in _total')
      if (type !== 'counter' && name.endsWith('_total')) refuse('only a counter ends in _total')
      current = { name, type, help: help?.text ?? '', samples: [] }
      families.set(name, current)
    } else {
      const [, name = '', labelText = '', valueText = ''] = SAMPLE.exec(line) ?? refuse('not a sample')
      if (!current || !belongs(name, current)) refuse('a sample outside of its metric')
      const labels = parseLabels(labelText, refuse)
      const value = parseValue(valueText, refuse)
      const key = `${name} ${JSON.stringify(Object.entries(labels).toSorted())}`
      if (seen.has(key)) refuse('the series is there twice')
      seen.add(key)
      if (current?.type === 'counter' && !(value >= 0)) refuse('a counter is not negative')
      current?.samples.push({ name, labels, value })
    }
  }
  for (const family of families.values()) {
    if (family.samples.length === 0) throw new Error(`${family.name} has no series`)
    if (family.type === 'histogram') checkHistogram(family)
  }
  return families
}

/** The sum over all series of a metric (of a histogram: its count) whose labels agree; 0 when there is none. */
export function sumOf(
  families: ReadonlyMap<string, ExposedFamily>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const family = families.get(name)
  const counted = family?.type === 'histogram' ? `${name}_count` : name
  return (family?.samples ?? [])
    .filter((sample) => sample.name === counted)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0)
}

function belongs(name: string, { name: family, type }: ExposedFamily): boolean {
  return type === 'histogram' ? ['_bucket', '_sum', '_count'].some((end) => name === family + end) : name === family
}

function parseLabels(text: string, refuse: (why: string) => never): Record<string, string> {
  const labels: Record<string, string> = {}
  let rest = text
  while (rest !== '') {
    const match = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/.exec(rest) ?? refuse('bad labels')
    const [whole, name = '', value = '', comma] = match
    if (name in labels) refuse('a label is there twice')
    labels[name] = value.replaceAll(/\\(.)/g, (_, sign: string) => (sign === 'n' ? '\n' : sign))
    rest = rest.slice(whole.length)
    if (comma === ',' && rest === '') refuse('a comma too many')
  }
  return labels
}

function parseValue(text: string, refuse: (why: string) => never): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (text === '-Inf') return Number.NEGATIVE_INFINITY
  if (text === 'NaN') return Number.NaN
  return /^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text) ? Number(text) : refuse('not a number')
}

function checkHistogram({ name, samples }: ExposedFamily): void {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...rest } }) => JSON.stringify(Object.entries(rest)))
  for (const [labels, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`)
    const bounds = buckets.map(({ labels: { le } }) => (le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le)))
    const counts = buckets.map(({ value }) => value)
    const isSorted = (numbers: number[]) =>
      numbers.every((number, index) => index === 0 || number >= (numbers[index - 1] ?? 0))
    const count = group.find((sample) => sample.name === `${name}_count`)?.value
    const hasSum = group.some((sample) => sample.name === `${name}_sum`)
    const isWhole = bounds.at(-1) === Number.POSITIVE_INFINITY && counts.at(-1) === count && hasSum
    if (!isWhole || !isSorted(bounds) || !isSorted(counts)) throw new Error(`${name}${labels} is not a histogram`)
  }
}
