// Objects of two sides compared, as unified diffs of their YAML. Pure.
import type { RenderedManifest } from '@fairlead/proto/applications'
import { sha256Hex } from '@fairlead/shared/digest'
import { formatObjectReference, type KubernetesObject, splitApiVersion } from '@fairlead/shared/object-reference'
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from 'diff'
import { dump } from 'js-yaml'
import { plain } from './text.ts'

/** One side. */
export interface DiffSide {
  readonly title: string
  readonly manifests: readonly RenderedManifest[]
}

/** A unified diff for each object that differs, in the order of kinds and names; empty when nothing does. Values of Secrets are told apart, never shown. */
export function diffManifests(from: DiffSide, to: DiffSide): string[] {
  const before = textsOf(from.manifests)
  const after = textsOf(to.manifests)
  const names = [...new Set([...before.keys(), ...after.keys()])].sort()
  return names.flatMap((name) => {
    const [a = '', b = ''] = [before.get(name), after.get(name)]
    if (a === b) return []
    const title = (side: DiffSide, text: string): string =>
      text === '' ? '/dev/null' : plain(`${side.title}: ${name}`)
    return [
      createTwoFilesPatch(title(from, a), title(to, b), a, b, undefined, undefined, {
        context: 3,
        headerOptions: FILE_HEADERS_ONLY,
      }),
    ]
  })
}

function textsOf(manifests: readonly RenderedManifest[]): Map<string, string> {
  return new Map(
    manifests.map(({ json }) => {
      const object = JSON.parse(json) as KubernetesObject
      const { apiVersion, kind, metadata } = object
      const [group] = splitApiVersion(apiVersion)
      const name = formatObjectReference({ group, kind, namespace: metadata.namespace ?? '', name: metadata.name })
      return [name, dump(kind === 'Secret' ? withoutSecrets(object) : object, { lineWidth: -1, sortKeys: true })]
    }),
  )
}

/** Equal values stay equal, and none can be read. */
function withoutSecrets(object: KubernetesObject): Record<string, unknown> {
  const hide = (values: unknown): unknown =>
    typeof values === 'object' && values !== null
      ? Object.fromEntries(Object.entries(values).map(([key, value]) => [key, hidden(value)]))
      : values
  const { data, stringData, ...rest } = object as Record<string, unknown>
  return { ...rest, ...(data ? { data: hide(data) } : {}), ...(stringData ? { stringData: hide(stringData) } : {}) }
}

/** Salted for each run: short passwords could be found by trying. */
function hidden(value: unknown): string {
  return `(hidden, ${sha256Hex(`${SALT} ${JSON.stringify(value)}`).slice(0, 8)})`
}

const SALT = crypto.randomUUID()
