// Follows the policy's ConfigMap: one open watch of one object, no polling. While the policy is not known, or not
// understood, nothing is allowed.
import { backoffMs, sleep } from '@fairlead/shared/backoff'
import { type AppError, toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { CONFIG_MAPS } from '../kube/core-kinds.ts'
import type { Kube } from '../kube/kube.ts'
import { isStatus } from '../kube/kube-error.ts'
import { type ClusterPolicy, parseClusterPolicy } from './cluster-policy.ts'

/** Name of the ConfigMap, in the agent's own namespace. */
export const POLICY_NAME = 'fairlead-agent-policy'

const WATCH_SECONDS = 600
const RETRY = { baseMs: 100, maxMs: 30_000 }

/** What is known of the policy. */
export type PolicyState =
  | { readonly kind: 'unknown' }
  /** It cannot be read or understood: nothing is allowed. */
  | { readonly kind: 'invalid'; readonly message: string }
  | { readonly kind: 'known'; readonly policy: ClusterPolicy }

/** What the watch needs and whom it tells. */
export interface PolicyWatchOptions {
  readonly kube: Kube
  /** The agent's own. */
  readonly namespace: string
  readonly logger: Logger
  /** The policy is another one now. */
  readonly onChange: (state: PolicyState) => void
}

/** The policy as it is now. */
export class PolicyWatch {
  readonly #options: PolicyWatchOptions
  readonly #ready = Promise.withResolvers<void>()
  #state: PolicyState = { kind: 'unknown' }
  #text = ''

  constructor(options: PolicyWatchOptions) {
    this.#options = options
  }

  get state(): PolicyState {
    return this.#state
  }

  /** Resolves when it is known for the first time what is allowed. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Follows the policy until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let seen: string | undefined
    for (let failures = 0; !signal.aborted; ) {
      try {
        seen ??= await this.#read(signal)
        seen = await this.#follow(seen, signal)
        failures = 0
      } catch (thrown) {
        if (signal.aborted) return
        seen = undefined
        const error = toAppError(thrown)
        // An outage changes nothing of what is allowed; a refusal does.
        if (isStatus(thrown, 403)) this.#take({ kind: 'invalid', message: `it cannot be read: ${error.message}` })
        if (failures === 0) this.#options.logger.debug({ error }, 'the policy cannot be followed')
        await sleep(backoffMs(failures++, RETRY), signal).catch(() => undefined)
      }
    }
  }

  async #read(signal: AbortSignal): Promise<string> {
    const { kube, namespace } = this.#options
    const fieldSelector = `metadata.name=${POLICY_NAME}`
    const { items, resourceVersion } = await kube.list(CONFIG_MAPS, { namespace, fieldSelector, signal })
    this.#takeObject(items[0])
    return resourceVersion
  }

  /** Until the API server ends the watch; returns from where to go on. */
  async #follow(resourceVersion: string, signal: AbortSignal): Promise<string> {
    const { kube, namespace } = this.#options
    const fieldSelector = `metadata.name=${POLICY_NAME}`
    const options = { namespace, fieldSelector, resourceVersion, timeoutSeconds: WATCH_SECONDS, signal }
    let last = resourceVersion
    for await (const { type, object } of await kube.watch(CONFIG_MAPS, options)) {
      last = object.metadata.resourceVersion ?? last
      if (type !== 'BOOKMARK') this.#takeObject(type === 'DELETED' ? undefined : object)
    }
    return last
  }

  #takeObject(object: KubernetesObject | undefined): void {
    try {
      this.#take({ kind: 'known', policy: parseClusterPolicy(object) })
    } catch (thrown) {
      const { message }: AppError = toAppError(thrown)
      this.#take({ kind: 'invalid', message })
    }
  }

  #take(state: PolicyState): void {
    const text = JSON.stringify(state)
    if (text === this.#text) return
    const isFirst = this.#text === ''
    this.#text = text
    this.#state = state
    const { logger, onChange } = this.#options
    if (state.kind === 'invalid') logger.warn({ problem: state.message }, 'the policy is not valid: nothing is written')
    else if (!isFirst) logger.info({}, 'the policy is another one now')
    this.#ready.resolve()
    onChange(state)
  }
}
