// What other tools write onto an object to call it theirs. When an object is taken over these marks are taken off: a tool
// that still runs, or is uninstalled later, would go by them and change or delete what is not its own any more.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { JsonPatchOperation } from '../kube/kube.ts'

/** Helm's ownership, Argo CD's tracking, and the last manifest of client-side appliers. */
const ANNOTATIONS = [
  'meta.helm.sh/release-name',
  'meta.helm.sh/release-namespace',
  'argocd.argoproj.io/tracking-id',
  'kubectl.kubernetes.io/last-applied-configuration',
] as const
/**
 * Flux's and Argo CD's ownership. Not `app.kubernetes.io/instance`, by which Argo CD tracks too where it is told so: charts
 * write it for everybody, and selectors go by it.
 */
const LABELS = [
  'kustomize.toolkit.fluxcd.io/name',
  'kustomize.toolkit.fluxcd.io/namespace',
  'helm.toolkit.fluxcd.io/name',
  'helm.toolkit.fluxcd.io/namespace',
  'argocd.argoproj.io/instance',
] as const

/** The patch that takes the marks off; undefined when there are none. What Git declares itself stays. */
export function claimPatch(object: KubernetesObject, declared: KubernetesObject): JsonPatchOperation[] | undefined {
  const { uid } = object.metadata
  const remove = [
    ...findMarks('labels', LABELS, object, declared),
    ...findMarks('annotations', ANNOTATIONS, object, declared),
  ]
  if (remove.length === 0) return undefined
  return [{ op: 'test', path: '/metadata/uid', value: uid }, ...remove]
}

function findMarks(
  field: 'labels' | 'annotations',
  names: readonly string[],
  object: KubernetesObject,
  declared: KubernetesObject,
): JsonPatchOperation[] {
  const [present, wanted] = [object.metadata[field] ?? {}, declared.metadata[field] ?? {}]
  return names
    .filter((name) => name in present && !(name in wanted))
    .map((name) => ({ op: 'remove', path: `/metadata/${field}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}` }))
}
