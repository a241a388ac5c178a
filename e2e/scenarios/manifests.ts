// Manifests and definitions that the scenarios share.
import type { KubeReference } from '../harness/kube-client.ts'

/** A ConfigMap document. */
export function configMap(name: string, data: Readonly<Record<string, string>>, namespace?: string): string {
  return `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    data,
  })}\n`
}

/** Where to find a ConfigMap; in the namespace `default` unless told otherwise. */
export function configMapReference(name: string, namespace = 'default'): KubeReference {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace } }
}

/** A Namespace document. */
export function namespace(name: string): string {
  return `${JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })}\n`
}

/** A Deployment document with one container named `main`. */
export function deployment(
  name: string,
  image: string,
  { replicas = 1, podAnnotations }: { replicas?: number; podAnnotations?: Readonly<Record<string, string>> } = {},
): string {
  const metadata = { labels: { app: name }, ...(podAnnotations && { annotations: podAnnotations }) }
  return `${JSON.stringify({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata, spec: { containers: [{ name: 'main', image }] } },
    },
  })}\n`
}

/** What a Job document may say besides its name: fields of its metadata, its spec and the spec of its pod. */
export interface JobOptions {
  readonly annotations?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
  readonly spec?: Readonly<Record<string, unknown>>
  readonly pod?: Readonly<Record<string, unknown>>
}

/** A Job document with one container named `main`, which runs once. */
export function job(name: string, { annotations, args, spec, pod }: JobOptions = {}): string {
  const containers = [{ name: 'main', image: 'job:1', ...(args && { args }) }]
  return `${JSON.stringify({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, ...(annotations && { annotations }) },
    spec: { ...spec, template: { spec: { restartPolicy: 'Never', containers, ...pod } } },
  })}\n`
}

/** A Service document with one port. */
export function service(name: string, port: number): string {
  return `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ name: 'http', port }] },
  })}\n`
}

/** A Repository definition that is polled every second. */
export function repositoryDefinition(name: string, url: string, more: Readonly<Record<string, unknown>> = {}): string {
  const spec = { url, pollInterval: '1s', ...more }
  return `---\n${JSON.stringify({ apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', metadata: { name }, spec })}\n`
}

/** What an Application definition needs to say; by default it goes to every cluster, from the folder of its name. */
export interface ApplicationOptions {
  readonly repository: string
  readonly path?: string
  readonly ref?: string
  readonly chart?: string
  readonly namespace?: string
  readonly names?: readonly string[]
  readonly matchLabels?: Readonly<Record<string, string>>
  readonly sync?: Readonly<Record<string, unknown>>
  readonly render?: Readonly<Record<string, unknown>>
  readonly overrides?: readonly object[]
}

/** An Application definition. */
export function applicationDefinition(name: string, options: ApplicationOptions): string {
  const { repository, path = name, ref = 'main', chart, names, matchLabels = {}, sync, render, overrides } = options
  const spec = {
    source: { repository, ref, ...(chart ? { chart } : { path }) },
    placement: names ? { names } : { clusters: { matchLabels } },
    namespace: options.namespace ?? name,
    ...(sync ? { sync } : {}),
    ...(render ? { render } : {}),
    ...(overrides ? { overrides } : {}),
  }
  return `---\n${JSON.stringify({ apiVersion: 'fairlead.dev/v1alpha1', kind: 'Application', metadata: { name }, spec })}\n`
}
