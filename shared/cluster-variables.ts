// Puts the cluster's name, labels and values into manifests. Agents do it and not the hub, so that all clusters share one
// artifact. Strict: what the cluster does not have is an error, never an empty text.
import type { Slice } from '@fairlead/proto/slice'
import type { KubernetesObject } from './object-reference.ts'
import { mayHoldVariables, replaceVariables, type VariableUse } from './variables.ts'

/** Values by the variable's name, such as `cluster.labels.region`. */
export type ClusterVariables = ReadonlyMap<string, string>

/** The variables of the cluster that a slice is for. */
export function variablesOf(slice: Pick<Slice, 'clusterName' | 'clusterLabels' | 'clusterValues'>): ClusterVariables {
  const { clusterName, clusterLabels, clusterValues } = slice
  return new Map([
    ['cluster.name', clusterName],
    ...Object.entries(clusterLabels).map(([key, value]) => [`cluster.labels.${key}`, value] as const),
    ...Object.entries(clusterValues).map(([key, value]) => [`cluster.values.${key}`, value] as const),
  ])
}

/** True when one of the variables named has another value in the one set than in the other. */
export function differIn(names: Iterable<string>, a: ClusterVariables, b: ClusterVariables): boolean {
  if (a === b) return false
  for (const name of names) if (a.get(name) !== b.get(name)) return true
  return false
}

/** A variable that could not be replaced. */
export interface VariableFault {
  /** Path of the field, such as `data.region` or `spec.containers[0].image`. */
  readonly field: string
  readonly message: string
}

/** What came of replacing the variables of an object. */
export interface Substitution {
  /** The same object when it uses none. */
  readonly object: KubernetesObject
  readonly faults: readonly VariableFault[]
  /** Names of the variables that it uses, unknown ones too. */
  readonly used: ReadonlySet<string>
  /** Characters that were put in. */
  readonly added: number
}

/** Path of a value within a document, by keys and indexes. */
export type ValuePath = readonly (string | number)[]

/** With what variables are replaced. */
export interface SubstituteOptions {
  readonly variables: ClusterVariables
  /** True for values that are left as they are, such as what was decrypted. Default: none. */
  readonly isExempt?: ((path: ValuePath) => boolean) | undefined
  /** Most characters to put in; what would be more is a fault. Default 2^31. */
  readonly limit?: number
}

/** The variables in all texts of an object replaced; keys of mappings are left as they are. */
export function substitute(object: KubernetesObject, options: SubstituteOptions): Substitution {
  const walk = new Walk(options)
  const replaced = walk.value(object, []) as KubernetesObject
  return { object: replaced, faults: walk.faults, used: walk.used, added: walk.added }
}

class Walk {
  readonly faults: VariableFault[] = []
  readonly used = new Set<string>()
  added = 0
  readonly #options: SubstituteOptions

  constructor(options: SubstituteOptions) {
    this.#options = options
  }

  /** The value itself when nothing in it changes. */
  value(value: unknown, path: ValuePath): unknown {
    if (typeof value === 'string') return mayHoldVariables(value) ? this.#text(value, path) : value
    if (Array.isArray(value)) {
      const items = value.map((item, index) => this.value(item, [...path, index]))
      return items.some((item, index) => item !== value[index]) ? items : value
    }
    if (typeof value !== 'object' || value === null || isRawJson(value)) return value
    const before = Object.entries(value)
    const after = before.map(([key, item]) => [key, this.value(item, [...path, key])] as const)
    return after.some(([, item], index) => item !== before[index]?.[1]) ? Object.fromEntries(after) : value
  }

  #text(text: string, path: ValuePath): string {
    if (this.#options.isExempt?.(path)) return text
    return replaceVariables(text, (use) => this.#replace(use, path))
  }

  #replace({ name, fault }: VariableUse, path: ValuePath): string {
    const { variables, limit = 2 ** 31 } = this.#options
    if (fault === undefined) this.used.add(name)
    const value = variables.get(name)
    if (fault !== undefined || value === undefined) {
      this.#fail(path, fault ?? `this cluster has no \${${name}}`)
      return ''
    }
    this.added += value.length
    if (this.added <= limit) return value
    this.#fail(path, 'the variables make the application larger than the limit allows')
    return ''
  }

  #fail(path: ValuePath, message: string): void {
    this.faults.push({ field: formatPath(path), message })
  }
}

/** A number with more digits than a double has, kept as it was written. */
function isRawJson(value: object): boolean {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value)
}

/** `data.region`, `metadata.labels[example.com/a]`, `spec.containers[0].image`. */
export function formatPath(path: ValuePath): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    if (!/^[\w-]+$/.test(part)) return `${text}[${part}]`
    return text === '' ? part : `${text}.${part}`
  }, '')
}
