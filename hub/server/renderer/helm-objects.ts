// What a chart says in annotations of Helm, said in ours: hooks, and what must never be deleted. Pure.
import { BEFORE_HOOKS_ANNOTATION, HOOK_ANNOTATION, PRUNE_ANNOTATION, WAVE_ANNOTATION } from '@fairlead/shared/labels'
import { isObject } from './manifest.ts'
import type { Adapt } from './rendering.ts'
import type { JsonObject, JsonValue } from './yaml-reader.ts'

const HELM_HOOK = 'helm.sh/hook'
const HELM_WEIGHT = 'helm.sh/hook-weight'
const HELM_POLICY = 'helm.sh/resource-policy'

/** What `helm test` runs, and nothing else. */
const TEST_EVENTS = ['test', 'test-success', 'test-failure']
const BEFORE = ['pre-install', 'pre-upgrade']
const AFTER = ['post-install', 'post-upgrade']
/** Helm 2 made CRDs so; they are objects like others now. */
const OBJECT_EVENTS = ['crd-install']

/** True for what is a hook, or was meant to be one, in Helm: a kustomization may inflate charts too. */
export function isHelmHook(document: JsonValue): boolean {
  if (!isObject(document) || !isObject(document.metadata)) return false
  return isObject(document.metadata.annotations) && typeof document.metadata.annotations[HELM_HOOK] === 'string'
}

/** Takes an object of a chart; see docs/user/rendering.md for what becomes of hooks. */
export function adaptHelmObject(document: JsonValue): ReturnType<Adapt> {
  if (!isObject(document) || !isObject(document.metadata)) return { document }
  const { annotations } = document.metadata
  if (!isObject(annotations)) return { document }
  const ours: JsonObject = annotations[HELM_POLICY] === 'keep' ? { [PRUNE_ANNOTATION]: 'disabled' } : {}
  const written = annotations[HELM_HOOK]
  if (typeof written !== 'string') return { document: annotate(document, ours) }
  const events = written.split(',').map((event) => event.trim().toLowerCase())
  if (events.every((event) => TEST_EVENTS.includes(event))) return undefined
  const phase = findPhase(events)
  if (phase === undefined)
    return { leftOut: `the hook ${written} is left out: Fairlead runs hooks before and after a sync only` }
  if (phase === 'object') return { document: annotate(document, ours) }
  if (document.kind !== 'Job') {
    const early: JsonObject = phase === 'pre-sync' ? { [BEFORE_HOOKS_ANNOTATION]: 'true' } : {}
    return { document: annotate(document, { ...early, ...ours }) }
  }
  const weight = annotations[HELM_WEIGHT]
  const wave =
    typeof weight === 'string' && /^[-+]?\d+$/.test(weight) ? { [WAVE_ANNOTATION]: String(Number(weight)) } : {}
  return { document: annotate(document, { ...wave, ...ours, [HOOK_ANNOTATION]: phase }) }
}

/** After wins: what may run before an upgrade only, as there must be something, cannot run before the first install. */
function findPhase(events: readonly string[]): 'pre-sync' | 'post-sync' | 'object' | undefined {
  if (events.some((event) => AFTER.includes(event))) return 'post-sync'
  if (events.some((event) => BEFORE.includes(event))) return 'pre-sync'
  return events.some((event) => OBJECT_EVENTS.includes(event)) ? 'object' : undefined
}

/** What the chart says in our own annotations counts more. */
function annotate(document: JsonObject, ours: JsonObject): JsonObject {
  if (Object.keys(ours).length === 0 || !isObject(document.metadata)) return document
  const annotations = isObject(document.metadata.annotations) ? document.metadata.annotations : {}
  return { ...document, metadata: { ...document.metadata, annotations: { ...ours, ...annotations } } }
}
