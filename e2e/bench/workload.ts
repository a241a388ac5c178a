// What the benchmarks run: one fleet of one full cluster, and generated applications of known size.
import { HealthState, SyncState } from '@fairlead/proto/common'
import { type Fleet, type FleetOptions, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { applicationDefinition, repositoryDefinition } from '../scenarios/manifests.ts'

/** A fleet of one cluster and the repository it follows. */
export interface Bench extends AsyncDisposable {
  readonly fleet: Fleet
  readonly repository: GitRepository
}

/** Starts a Git host, the hub and one full cluster named `bench`, with an empty repository applied. */
export async function startBench(options: FleetOptions = {}): Promise<Bench> {
  const fleet = await startFleet(options)
  const repository = fleet.git.createRepository('bench')
  repository.commit({ 'README.md': 'bench\n' })
  await fleet.addCluster('bench', { full: true })
  await fleet.apply(repositoryDefinition('bench', repository.url))
  return { fleet, repository, [Symbol.asyncDispose]: () => fleet[Symbol.asyncDispose]() }
}

/** So many ConfigMaps of 1.5 KB in four namespaces, an application each; returns when all are Synced and Healthy. */
export async function runConfigMaps(bench: Bench, count: number): Promise<void> {
  await runObjects(bench, count, configMap)
}

/** So many objects in four namespaces, an application each; returns when all are Synced and Healthy. `make` gives the text of one out of its namespace and number. */
export async function runObjects(
  { fleet, repository }: Bench,
  count: number,
  make: (namespaceName: string, index: number) => string,
): Promise<void> {
  const names = ['a', 'b', 'c', 'd'].map((letter) => `load-${letter}`)
  const perApplication = count / names.length
  for (const name of names) {
    const objects = Array.from({ length: perApplication }, (_, index) => make(name, index))
    repository.commit({ [`${name}/all.yaml`]: [namespace(name), ...objects].join('---\n') })
  }
  const objects = perApplication + 1
  await fleet.apply(names.map((name) => applicationDefinition(name, { repository: 'bench' })).join(''))
  await waitUntilSynced(fleet, names, objects)
}

/** Waits until these applications are Synced and Healthy, with so many objects each where that is given. */
export async function waitUntilSynced(fleet: Fleet, names: readonly string[], objects?: number): Promise<void> {
  await fleet.waitForStatus(
    `${names.join(', ')} to be Synced`,
    ({ deployments }) =>
      names.every((name) =>
        deployments.some(
          ({ application, sync, health, report }) =>
            application === name &&
            sync === SyncState.SYNCED &&
            health === HealthState.HEALTHY &&
            (objects === undefined || report?.objects === objects),
        ),
      ),
    { timeoutMs: 300_000 },
  )
}

/** A ConfigMap of 1.5 KB as JSON text. */
export function configMap(namespaceName: string, index: number): string {
  const metadata = { name: `c${index}`, namespace: namespaceName }
  return `${JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: '1', filler: 'x'.repeat(1500) } })}\n`
}

/** A Namespace as JSON text. */
export function namespace(name: string): string {
  return `${JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })}\n`
}

/** A Deployment without replicas, a Service, a ConfigMap and a ServiceAccount, with the labels that the agent would add. */
export function fourObjects(namespaceName: string, index: number): KubeManifest[] {
  const metadata = { name: `o${index}`, namespace: namespaceName }
  const labels = { app: `o${index}` }
  const container = {
    name: 'main',
    image: 'bench:1.0',
    ports: [{ containerPort: 80 }],
    resources: { requests: { cpu: '100m', memory: '64Mi' } },
    env: [{ name: 'A', value: '1' }],
  }
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [container] } },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata,
      spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: '1', b: '2' } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
  ]
}

/** The same with one running pod, and with a value that everything carries: a change of it is a rollout. */
export function runningObjects(namespaceName: string, index: number, value: string): KubeManifest[] {
  return fourObjects(namespaceName, index).map((object) => withValue(object, value))
}

function withValue(object: KubeManifest, value: string): KubeManifest {
  const metadata = { ...object.metadata, annotations: { value } }
  if (object.kind !== 'Deployment') return { ...object, metadata }
  const spec = object.spec as { readonly template: { readonly metadata: object } }
  const template = { ...spec.template, metadata: { ...spec.template.metadata, annotations: { value } } }
  return { ...object, metadata, spec: { ...spec, replicas: 1, template } }
}

/** An object as it is sent. */
export interface KubeManifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace: string
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly [field: string]: unknown
}
