// For the property test: what can happen to a namespace that several applications share, as data, and how such
// histories are drawn. Everything here is pure.
import fc from 'fast-check'
import type { TestEntry, TestObject } from './reconciler-bed.ts'

/** Applications of a history. */
export const APPLICATIONS = ['a', 'b', 'c'] as const

/** One of the applications. */
export type ApplicationName = (typeof APPLICATIONS)[number]

/** Which application declares which of the objects, and with which content. */
export interface DeclaredState {
  /** By index of the object; undefined: nobody declares it. */
  readonly slots: readonly ({ readonly application: ApplicationName; readonly variant: number } | undefined)[]
  /** How applications are given that declare nothing: as an empty one, as one to prune, or not at all. */
  readonly empty: 'empty' | 'tombstone'
}

/** One thing that happens. */
export type Step =
  | { readonly type: 'declare'; readonly state: DeclaredState }
  /** Somebody changes an object, be it declared or not. */
  | { readonly type: 'edit'; readonly slot: number; readonly manager: Manager; readonly what: Edit }
  | { readonly type: 'delete'; readonly slot: number }
  /** Somebody makes an object before an application declares it. */
  | { readonly type: 'precreate'; readonly slot: number }
  /** Somebody writes an object that is never declared. */
  | { readonly type: 'foreign'; readonly index: number; readonly value: string }
  /** The process ends while the so-manieth write from now is under way, before or after it is sent; another takes over. */
  | { readonly type: 'crash'; readonly afterWrites: number; readonly isSent: boolean }
  | { readonly type: 'restart' }
  /** Time passes until all is settled. */
  | { readonly type: 'settle' }

/** Who edits: a person, or a controller. */
export type Manager = 'kubectl-edit' | 'some-controller'

/** What is edited. */
export type Edit = 'value' | 'added' | 'managed-by' | 'application' | 'labels' | 'replace-status'

/** A history, in order. */
export type History = readonly Step[]

/** Number of objects that applications share. */
export const SLOTS = 9
/** Number of objects that nobody declares. */
export const FOREIGN = 3
const VARIANTS = 3

/** Histories of up to 14 steps. */
export const historyArbitrary: fc.Arbitrary<History> = fc.array(stepArbitrary(), { minLength: 1, maxLength: 14 })

function stepArbitrary(): fc.Arbitrary<Step> {
  const slot = fc.nat({ max: SLOTS - 1 })
  const declared = fc.option(
    fc.record({ application: fc.constantFrom(...APPLICATIONS), variant: fc.nat({ max: VARIANTS - 1 }) }),
    { nil: undefined, freq: 3 },
  )
  const state: fc.Arbitrary<DeclaredState> = fc.record({
    slots: fc.array(declared, { minLength: SLOTS, maxLength: SLOTS }),
    empty: fc.constantFrom('empty', 'tombstone'),
  })
  const edit = fc.constantFrom<Edit[]>('value', 'added', 'managed-by', 'application', 'labels', 'replace-status')
  const manager = fc.constantFrom<Manager[]>('kubectl-edit', 'some-controller')
  return fc.oneof(
    { weight: 6, arbitrary: fc.record({ type: fc.constant('declare' as const), state }) },
    { weight: 5, arbitrary: fc.record({ type: fc.constant('edit' as const), slot, manager, what: edit }) },
    { weight: 3, arbitrary: fc.record({ type: fc.constant('delete' as const), slot }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('precreate' as const), slot }) },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('foreign' as const),
        index: fc.nat({ max: FOREIGN - 1 }),
        value: fc.constantFrom('x', 'y'),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('crash' as const),
        afterWrites: fc.nat({ max: 8 }),
        isSent: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('restart' as const) }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('settle' as const) }) },
  )
}

/** The object of a slot in a variant; each kind has fields that others like to write. */
export function objectOf(slot: number, variant: number): TestObject {
  const value = `v${variant}`
  const metadata = {
    name: `slot-${slot}`,
    labels: { variant: value },
    annotations: { 'example.com/slot': String(slot) },
  }
  const base = { apiVersion: 'v1', metadata }
  switch (slot % SLOTS) {
    case 0:
    case 1:
    case 2:
      return { ...base, kind: 'ConfigMap', data: { value, ...(variant === 2 && { more: '1' }) } }
    case 3:
      return { ...base, kind: 'Secret', data: { value: Buffer.from(value).toString('base64') } }
    case 4:
      return { ...base, kind: 'ServiceAccount', automountServiceAccountToken: variant === 0 }
    case 5:
      return { ...base, kind: 'Service', spec: { selector: { value }, ports: [servicePort(variant)] } }
    case 6:
      return { ...base, apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', rules: [rule(value)] }
    case 7:
      return { ...base, apiVersion: 'apps/v1', kind: 'Deployment', spec: deploymentSpec(value, variant) }
    default:
      return { ...base, apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', spec: policySpec(value) }
  }
}

const servicePort = (variant: number) => ({ name: 'http', port: 80 + variant, targetPort: 8080, protocol: 'TCP' })
const rule = (value: string) => ({ apiGroups: [''], resources: ['pods'], verbs: ['get'], resourceNames: [value] })
const policySpec = (value: string) => ({ podSelector: { matchLabels: { value } }, policyTypes: ['Ingress'] })
const deploymentSpec = (value: string, variant: number) => ({
  replicas: variant + 1,
  selector: { matchLabels: { app: 'slot' } },
  template: {
    metadata: { labels: { app: 'slot' } },
    spec: { containers: [{ name: 'main', image: `example.com/app:${value}`, env: [{ name: 'VALUE', value }] }] },
  },
})

/** A merge patch, or for lists with keys a strategic one, as the editor would send it. */
export function editOf(slot: number, what: Edit): { readonly body: unknown; readonly type: 'merge' | 'strategic' } {
  if (what === 'managed-by') return merge({ metadata: { labels: { 'app.kubernetes.io/managed-by': null } } })
  if (what === 'application') return merge({ metadata: { labels: { 'fairlead.dev/application': 'other' } } })
  if (what === 'labels') return merge({ metadata: { labels: null, annotations: null } })
  if (what === 'replace-status') return merge({ metadata: { annotations: { 'example.com/seen': 'yes' } } })
  const { kind } = objectOf(slot, 0)
  return what === 'value' ? changedValue(kind) : addedValue(kind)
}

const merge = (body: unknown) => ({ body, type: 'merge' as const })
const strategic = (body: unknown) => ({ body, type: 'strategic' as const })

function changedValue(kind: string) {
  switch (kind) {
    case 'ConfigMap':
      return merge({ data: { value: 'edited' } })
    case 'Secret':
      return merge({ data: { value: Buffer.from('edited').toString('base64') } })
    case 'ServiceAccount':
      return merge({ automountServiceAccountToken: null })
    case 'Service':
      // The key of the port is edited: a plain apply would be refused.
      return merge({ spec: { ports: [{ ...servicePort(0), port: 8443 }] } })
    case 'Role':
      return merge({ rules: [rule('edited')] })
    case 'Deployment':
      return strategic({
        spec: { replicas: 9, template: { spec: { containers: [{ name: 'main', image: 'other:1' }] } } },
      })
    default:
      return merge({ spec: { podSelector: { matchLabels: { value: 'edited' } } } })
  }
}

/** Where the edit `added` puts an item into a list whose items are merged by key: the list, the item's name, and what a field manager that owns it has in its entry. Undefined where it does something else. */
export function addedItemOf(
  slot: number,
): { readonly list: readonly string[]; readonly name: string; readonly key: string } | undefined {
  const { kind } = objectOf(slot, 0)
  if (kind === 'Service')
    return { list: ['spec', 'ports'], name: 'more', key: JSON.stringify('"port":9000').slice(1, -1) }
  const key = JSON.stringify('"name":"sidecar"').slice(1, -1)
  return kind === 'Deployment' ? { list: ['spec', 'template', 'spec', 'containers'], name: 'sidecar', key } : undefined
}

function addedValue(kind: string) {
  switch (kind) {
    case 'ConfigMap':
      return merge({ data: { added: 'by hand' } })
    case 'Secret':
      return merge({ data: { added: 'YQ==' } })
    case 'Service':
      return strategic({ spec: { ports: [{ name: 'more', port: 9000, protocol: 'TCP' }] } })
    case 'Deployment':
      return strategic({ spec: { template: { spec: { containers: [{ name: 'sidecar', image: 'sidecar:1' }] } } } })
    default:
      return merge({ metadata: { annotations: { 'example.com/added': 'by hand' } } })
  }
}

/**
 * A slice's entries for a state. `known`: applications that were declared before; others that declare nothing are left
 * out. `approve`: digests of the held prunes that are approved.
 */
export function entriesOf(
  { slots, empty }: DeclaredState,
  known: ReadonlySet<ApplicationName>,
  approve: readonly string[] = [],
): Record<string, TestEntry> {
  const entries: Record<string, TestEntry> = {}
  for (const application of APPLICATIONS) {
    const objects = slots.flatMap((one, slot) =>
      one?.application === application ? [objectOf(slot, one.variant)] : [],
    )
    if (objects.length > 0) entries[application] = { objects, approve }
    else if (known.has(application))
      entries[application] = empty === 'empty' ? { objects, approve } : { tombstone: 'prune', approve }
  }
  return entries
}

/** Histories that failed once. */
export const FOUND: readonly History[] = [
  // What a controller adds to a list with keys stays.
  [
    { type: 'declare', state: { slots: slotsOf({ 5: { application: 'a', variant: 0 } }), empty: 'empty' } },
    { type: 'settle' },
    { type: 'edit', slot: 5, manager: 'some-controller', what: 'added' },
    { type: 'settle' },
  ],
  // The process ends right after it has put back what was deleted, and the next one is to delete it.
  [
    { type: 'declare', state: { slots: slotsOf({ 4: { application: 'c', variant: 0 } }), empty: 'empty' } },
    { type: 'settle' },
    { type: 'delete', slot: 4 },
    { type: 'declare', state: { slots: slotsOf({ 1: { application: 'b', variant: 1 } }), empty: 'tombstone' } },
    { type: 'restart' },
  ],
]

function slotsOf(declared: Readonly<Record<number, DeclaredState['slots'][number]>>): DeclaredState['slots'] {
  return Array.from({ length: SLOTS }, (_, slot) => declared[slot])
}
