// The bare minimum to compare with: the same server-side apply requests over one HTTP/2 connection, and nothing else.
import { readFileSync } from 'node:fs'
import { type ClientHttp2Session, connect } from 'node:http2'
import type { Cluster } from '../harness/cluster.ts'
import type { KubeManifest } from './workload.ts'

const plurals: Readonly<Record<string, string>> = {
  Deployment: 'deployments',
  Service: 'services',
  ConfigMap: 'configmaps',
  ServiceAccount: 'serviceaccounts',
}

/** The request that applies an object, with labels like those that the agent adds for an application. */
export function rawRequest(object: KubeManifest, application: string): readonly [path: string, body: string] {
  const { apiVersion, kind, metadata } = object
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const labels = { 'app.kubernetes.io/managed-by': 'raw', 'fairlead.dev/application': application }
  const path = `${root}/namespaces/${metadata.namespace}/${plurals[kind]}/${metadata.name}`
  return [path, JSON.stringify({ ...object, metadata: { ...metadata, labels } })]
}

/** One HTTP/2 connection to an API server as its administrator. */
export class RawClient {
  readonly #session: ClientHttp2Session
  readonly #token: string

  constructor(cluster: Cluster) {
    this.#session = connect(cluster.server, { ca: readFileSync(cluster.caFile) })
    this.#token = cluster.adminToken
  }

  /** Applies each [path, object] server-side with `concurrency` in flight; milliseconds for all. Throws on the first refusal. */
  async applyAll(requests: readonly (readonly [path: string, body: string])[], concurrency: number): Promise<number> {
    const startedAt = performance.now()
    let next = 0
    await Promise.all(
      Array.from({ length: concurrency }, async () => {
        for (let request = requests[next++]; request; request = requests[next++]) await this.#apply(...request)
      }),
    )
    return performance.now() - startedAt
  }

  close(): void {
    this.#session.close()
  }

  #apply(path: string, text: string): Promise<void> {
    const body = Buffer.from(text)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const stream = this.#session.request({
      ':method': 'PATCH',
      ':path': `${path}?fieldManager=raw&force=true`,
      'content-type': 'application/apply-patch+yaml',
      'content-length': body.length,
      accept: 'application/json',
      authorization: `Bearer ${this.#token}`,
    })
    const chunks: Buffer[] = []
    let status = 0
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', reject)
    // The answer is parsed as the agent must parse it: it holds the managedFields entry that drift is told by.
    stream.on('end', () => {
      const answer = Buffer.concat(chunks).toString()
      if (status >= 300) reject(new Error(`${path}: ${status} ${answer.slice(0, 300)}`))
      else {
        JSON.parse(answer)
        resolve()
      }
    })
    stream.end(body)
    return promise
  }
}
