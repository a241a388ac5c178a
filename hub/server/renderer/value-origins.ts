// Where each value that a chart is given was written. Pure.
import { formatPath } from '@fairlead/shared/cluster-variables'

/** Values written in one place. */
export interface ValueLayer {
  /** A file, or a field of the definition. */
  readonly origin: string
  readonly values: Readonly<Record<string, unknown>>
}

/** A value that won. */
export interface OriginOfValue {
  readonly path: readonly string[]
  readonly value: unknown
  readonly origin: string
}

type Branch = Map<string, Branch | OriginOfValue>

/** Merges values as Helm does, later ones winning: mappings by key, everything else as a whole; null takes a key away. In the order in which the keys came. */
export function traceValues(layers: readonly ValueLayer[]): OriginOfValue[] {
  const root: Branch = new Map()
  for (const { origin, values } of layers) merge(root, values, { origin, path: [] })
  return collect(root)
}

function merge(
  into: Branch,
  values: Readonly<Record<string, unknown>>,
  at: { readonly origin: string; readonly path: readonly string[] },
): void {
  for (const [key, value] of Object.entries(values)) {
    const path = [...at.path, key]
    const present = into.get(key)
    if (value === null) into.delete(key)
    else if (isMapping(value) && Object.keys(value).length > 0) {
      const branch = present instanceof Map ? present : new Map()
      into.set(key, branch)
      merge(branch, value, { origin: at.origin, path })
    } else if (!(isMapping(value) && present instanceof Map)) into.set(key, { path, value, origin: at.origin })
  }
}

function collect(branch: Branch): OriginOfValue[] {
  return [...branch.values()].flatMap((each) => (each instanceof Map ? collect(each) : [each]))
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `image.tag`, `labels[example.com/a]`. */
export function formatValuePath({ path }: OriginOfValue): string {
  return formatPath(path)
}
