// Objects of six kinds with a field of each that somebody may edit by hand.
import { getField } from '../harness/kube-client.ts'
import type { KubeManifest } from './workload.ts'

/** A kind, how one of it is declared, and what an edit changes. */
export interface EditedKind {
  readonly apiVersion: string
  readonly kind: string
  /** All but apiVersion, kind, name and namespace. */
  readonly declared: Readonly<Record<string, unknown>>
  /** A merge patch that nobody declared; another at each number. */
  readonly edit: (number: number) => object
  /** The field that the edit changes, and what is declared of it. */
  readonly field: string
  readonly value: unknown
}

/** In the order in which objects are numbered. */
export const editedKinds: readonly EditedKind[] = [
  {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    declared: { data: { a: '1', filler: 'x'.repeat(1500) } },
    edit: (number) => ({ data: { a: `by hand ${number}` } }),
    field: 'data.a',
    value: '1',
  },
  {
    apiVersion: 'v1',
    kind: 'Secret',
    declared: { data: { a: 'MQ==' } },
    edit: (number) => ({ stringData: { a: `by hand ${number}` } }),
    field: 'data.a',
    value: 'MQ==',
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    declared: { spec: { selector: { app: 'a' }, ports: [{ name: 'http', port: 80 }] } },
    edit: (number) => ({ spec: { selector: { app: `by-hand-${number}` } } }),
    field: 'spec.selector.app',
    value: 'a',
  },
  {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    declared: { automountServiceAccountToken: false },
    edit: () => ({ automountServiceAccountToken: true }),
    field: 'automountServiceAccountToken',
    value: false,
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    declared: { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] },
    edit: (number) => ({ rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', `hand-${number}`] }] }),
    field: 'rules',
    value: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }],
  },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    declared: {
      spec: {
        replicas: 0,
        revisionHistoryLimit: 3,
        selector: { matchLabels: { app: 'a' } },
        template: { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'a', image: 'bench:1.0' }] } },
      },
    },
    edit: (number) => ({ spec: { revisionHistoryLimit: 4 + (number % 50) } }),
    field: 'spec.revisionHistoryLimit',
    value: 3,
  },
]

/** The kind of the object of this number. */
export function editedKind(number: number): EditedKind {
  const kind = editedKinds[number % editedKinds.length]
  if (!kind) throw new Error('there are no kinds')
  return kind
}

/** The object of this number, as declared. */
export function editedObject(namespace: string, number: number): KubeManifest {
  const { apiVersion, kind, declared } = editedKind(number)
  return { apiVersion, kind, metadata: { name: `o${number}`, namespace }, ...declared }
}

/** Whether an object of the kind is as declared in the field that edits change. */
export function isAsDeclared({ field, value }: EditedKind, object: unknown): boolean {
  return JSON.stringify(getField(object as never, field)) === JSON.stringify(value)
}
