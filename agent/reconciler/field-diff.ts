// Which fields of two objects differ, as paths; never their values. Pure.
import { canonicalJson } from '@fairlead/shared/digest'
import { APPLICATION_LABEL, MANAGED_BY_LABEL } from '@fairlead/shared/labels'
import type { KubernetesObject } from '@fairlead/shared/object-reference'

/** More paths than this tell nobody anything. */
const PATHS_MAX = 50

/** Paths such as `spec.template.spec.containers[name=web].image` where the objects differ, sorted. What the API server writes by itself, and our own labels, are left out. */
export function diffFields(a: KubernetesObject, b: KubernetesObject): string[] {
  const paths = new Set<string>()
  collect(comparable(a), comparable(b), '', paths)
  return [...paths].sort().slice(0, PATHS_MAX)
}

function comparable({ metadata, ...rest }: KubernetesObject): unknown {
  const { managedFields: _f, resourceVersion: _r, generation: _g, labels = {}, ...kept } = metadata
  const { [MANAGED_BY_LABEL]: _m, [APPLICATION_LABEL]: _a, ...others } = labels
  return { ...rest, metadata: { ...kept, labels: others } }
}

function collect(a: unknown, b: unknown, path: string, paths: Set<string>): void {
  if (isMap(a) && isMap(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) collect(a[key], b[key], join(path, key), paths)
  } else if (Array.isArray(a) && Array.isArray(b) && isNamed(a) && isNamed(b)) {
    const [left, right] = [byName(a), byName(b)]
    for (const name of new Set([...left.keys(), ...right.keys()])) {
      collect(left.get(name), right.get(name), `${path}[name=${name}]`, paths)
    }
  } else if (canonicalJson(a ?? null) !== canonicalJson(b ?? null)) paths.add(path)
}

function join(path: string, key: string): string {
  if (!/^[\w-]+$/.test(key)) return `${path}[${key}]`
  return path === '' ? key : `${path}.${key}`
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNamed(list: readonly unknown[]): list is readonly { name: string }[] {
  return list.every((item) => isMap(item) && typeof item.name === 'string')
}

function byName(list: readonly { name: string }[]): Map<string, unknown> {
  return new Map(list.map((item) => [item.name, item]))
}
