// A real admission webhook: an HTTPS server on loopback and the configuration that makes an API server ask it. It allows,
// refuses, changes, keeps its answer back or is down, as the test says, while it runs.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import { createTestCa } from '@fairlead/agent/testbed/certificates'
import type { Cluster } from './cluster.ts'
import type { KubeObject } from './kube-client.ts'
import { takePort } from './ports.ts'
import { waitFor } from './wait.ts'

/** What the API server asks: the part of an AdmissionReview's request that tests look at. */
export type AdmissionRequest = {
  readonly uid: string
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT'
  readonly name: string
  readonly namespace: string
  readonly dryRun: boolean
  readonly userInfo: { readonly username: string }
  /** Absent for DELETE. */
  readonly object?: KubeObject
}

/** What the webhook answers. A patch (RFC 6902) is for mutating webhooks. */
export type AdmissionVerdict =
  | { readonly allowed: true; readonly patch?: readonly object[] }
  | { readonly allowed: false; readonly message: string; readonly code?: number }

/** Decides about one request. */
export type AdmissionReview = (request: AdmissionRequest) => AdmissionVerdict

/** Which requests are sent to the webhook, and what happens when it does not answer. */
export type AdmissionWebhookOptions = {
  readonly cluster: Cluster
  /** A DNS label, unique in the cluster. */
  readonly name: string
  /** Default validating. */
  readonly type?: 'validating' | 'mutating'
  /** Namespaces whose objects it is asked about; cluster-scoped objects always match. */
  readonly namespaces: readonly string[]
  /** Plural names of any group, default configmaps. */
  readonly resources?: readonly string[]
  /** Default CREATE and UPDATE. */
  readonly operations?: readonly AdmissionRequest['operation'][]
  /** Default Fail. */
  readonly failurePolicy?: 'Fail' | 'Ignore'
  /** After which the API server gives up, default 10. */
  readonly timeoutSeconds?: number
  /** Default: allow everything. */
  readonly review?: AdmissionReview
}

const ALLOWED: AdmissionVerdict = { allowed: true }
const PROBE_PATH = '/probe'

/** Starts the server, registers it, and returns when the API server asks it. */
export async function startAdmissionWebhook(options: AdmissionWebhookOptions): Promise<AdmissionWebhook> {
  const webhook = new AdmissionWebhook(options, await takePort())
  await webhook.restore()
  await webhook.register()
  return webhook
}

/** A running webhook. */
export class AdmissionWebhook implements AsyncDisposable {
  /** What it answers; may be replaced at any time. */
  review: AdmissionReview
  /** All requests, in the order in which they came; the probes of the harness left out. */
  readonly requests: AdmissionRequest[] = []
  /** Answers wait for it. */
  #released = Promise.resolve()
  #release: (() => void) | undefined
  readonly #options: AdmissionWebhookOptions
  readonly #port: number
  readonly #ca = createTestCa('webhook CA')
  readonly #certificate = this.#ca.issue(['127.0.0.1'])
  #server: Server | undefined
  #probes = 0

  constructor(options: AdmissionWebhookOptions, port: number) {
    this.#options = options
    this.#port = port
    this.review = options.review ?? (() => ALLOWED)
  }

  /** Keeps every answer from here on back until `release`, or until the API server gives up after `timeoutSeconds`. */
  hold(): void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#released = promise
    this.#release = resolve
  }

  /** Gives the answers that were kept back, and goes on as before. */
  release(): void {
    this.#release?.()
  }

  /** Takes the server down, as a crashed pod would be: the API server goes on asking it in vain. */
  async cut(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    server?.closeAllConnections()
    if (server) await new Promise((resolve) => server.close(resolve))
  }

  /** Starts the server, again on the same port. */
  async restore(): Promise<void> {
    if (this.#server) return
    const { certificatePem: cert, keyPem: key } = this.#certificate
    const server = createServer({ cert, key }, (request, response) => {
      this.#handle(request, response).catch((error: unknown) => response.destroy(error as Error))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', resolve)
    })
    this.#server = server
  }

  /** Called by startAdmissionWebhook. */
  async register(): Promise<void> {
    const { cluster, name } = this.#options
    await cluster.harness.create(this.#configuration())
    await waitFor(`the API server to ask webhook ${name}`, async () => await this.#isAsked())
  }

  /** Takes the registration away and returns when the API server asks no more; the server stays up. */
  async unregister(): Promise<void> {
    const { cluster, name } = this.#options
    await cluster.harness.delete(this.#configuration())
    await waitFor(`the API server to forget webhook ${name}`, async () => !(await this.#isAsked()))
  }

  /** Ends it: registration and server. */
  async stop(): Promise<void> {
    this.release()
    await this.#options.cluster.harness.delete(this.#configuration())
    await this.cut()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Whether a probe of ours reaches it. Its configuration is read by the API server a moment after it is written. */
  async #isAsked(): Promise<boolean> {
    const { cluster, name, namespaces } = this.#options
    const before = this.#probes
    const metadata = { name: this.#probeName, namespace: namespaces[0] ?? 'default' }
    const path = await cluster.harness.path({ apiVersion: 'v1', kind: 'ConfigMap', metadata }, { collection: true })
    const probe = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: metadata.name } }
    await cluster.harness.request('POST', `${path}?dryRun=All&fieldManager=${name}`, probe)
    return this.#probes > before
  }

  get #probeName(): string {
    return `probe-of-${this.#options.name}`
  }

  #configuration() {
    const { name, type = 'validating', resources = ['configmaps'], namespaces } = this.#options
    const { failurePolicy = 'Fail', timeoutSeconds = 10, operations = ['CREATE', 'UPDATE'] } = this.#options
    const base = (path: string) => ({
      admissionReviewVersions: ['v1'],
      sideEffects: 'None',
      timeoutSeconds,
      clientConfig: {
        url: `https://127.0.0.1:${this.#port}${path}`,
        caBundle: Buffer.from(this.#ca.certificatePem).toString('base64'),
      },
      namespaceSelector: {
        matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [...namespaces] }],
      },
    })
    const isProbe = `object != null && object.metadata.name == '${this.#probeName}'`
    return {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: type === 'mutating' ? 'MutatingWebhookConfiguration' : 'ValidatingWebhookConfiguration',
      metadata: { name },
      webhooks: [
        {
          ...base('/'),
          name: `${name}.example.com`,
          failurePolicy,
          rules: [{ apiGroups: ['*'], apiVersions: ['*'], resources: [...resources], operations: [...operations] }],
          matchConditions: [{ name: 'not-a-probe', expression: `!(${isProbe})` }],
        },
        {
          ...base(PROBE_PATH),
          name: `probe.${name}.example.com`,
          failurePolicy: 'Ignore',
          rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], operations: ['CREATE'] }],
          matchConditions: [{ name: 'probe', expression: isProbe }],
        },
      ],
    }
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const review = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { request: AdmissionRequest }
    const verdict = request.url?.startsWith(PROBE_PATH) ? this.#countProbe() : await this.#decide(review.request)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(toReview(review.request.uid, verdict)))
  }

  #countProbe(): AdmissionVerdict {
    this.#probes++
    return ALLOWED
  }

  async #decide(request: AdmissionRequest): Promise<AdmissionVerdict> {
    this.requests.push(request)
    await this.#released
    return this.review(request)
  }
}

function toReview(uid: string, verdict: AdmissionVerdict): object {
  const answer = verdict.allowed
    ? {
        uid,
        allowed: true,
        ...(verdict.patch && {
          patchType: 'JSONPatch',
          patch: Buffer.from(JSON.stringify(verdict.patch)).toString('base64'),
        }),
      }
    : { uid, allowed: false, status: { message: verdict.message, code: verdict.code ?? 403 } }
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }
}
