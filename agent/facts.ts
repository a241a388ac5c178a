// What the agent tells the hub of its cluster: read when it starts, when kinds come or go with what it applies, and now and
// then, as others may upgrade the cluster or bring kinds too.
import { create, equals, toBinary } from '@bufbuild/protobuf'
import { type AgentFacts, AgentFactsSchema, type ServedVersion, ServedVersionSchema } from '@fairlead/proto/report'
import { jittered, sleep } from '@fairlead/shared/backoff'
import { AppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { splitApiVersion } from '@fairlead/shared/object-reference'
import { VERSION } from '@fairlead/shared/version'
import type { Kube } from './kube/kube.ts'

const TIMEOUT_MS = 5_000
/** How often the API server is asked although nothing is known to have changed. */
const INTERVAL_MS = 600_000
/** After a change the API server needs a moment to say what it serves now: asked soon, and again. */
const SETTLE_MS = [500, 2_500, 10_000]
/** Most bytes of what is served: the rest of a report must have room. */
const MAX_SERVED_BYTES = 32 * 1024

/** What facts are read with. */
export interface ClusterFactsOptions {
  readonly kube: Pick<Kube, 'request' | 'servedKinds'>
  /** The agent has rights in some namespaces only: nothing outside of them is asked for. */
  readonly isLimited: boolean
  readonly logger: Logger
  /** They are others now than at the last call, or known for the first time. */
  readonly onChange: () => void
  /** How often they are read although nothing is known to have changed, in milliseconds, default 10 minutes. */
  readonly intervalMs?: number
}

/** The facts of the agent's cluster. */
export class ClusterFacts {
  readonly #options: ClusterFactsOptions
  #current: AgentFacts = create(AgentFactsSchema, { agentVersion: VERSION })
  #isTooMuch = false
  #wakeUp = Promise.withResolvers<void>()

  constructor(options: ClusterFactsOptions) {
    this.#options = options
  }

  /** As they were read last; what was never read is empty. */
  get current(): AgentFacts {
    return this.#current
  }

  /** Kinds came or went. */
  kindsChanged(): void {
    this.#wakeUp.resolve()
  }

  /** Reads them now. What cannot be read, or may not be, stays as it was, also when the signal aborts. */
  async read(signal: AbortSignal): Promise<AgentFacts> {
    const { kube, isLimited } = this.#options
    const last = this.#current
    const [version, namespace, served] = await Promise.all([
      get(kube, '/version', signal),
      isLimited ? undefined : get(kube, '/api/v1/namespaces/kube-system', signal),
      this.#readServed(signal),
    ])
    const { gitVersion } = (version ?? {}) as { gitVersion?: string }
    const { metadata } = (namespace ?? {}) as { metadata?: { uid?: string } }
    this.#current = create(AgentFactsSchema, {
      agentVersion: VERSION,
      kubernetesVersion: gitVersion ?? last.kubernetesVersion,
      clusterUid: metadata?.uid ?? last.clusterUid,
      served: served ?? last.served,
    })
    return this.#current
  }

  /** Keeps them true until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let told = this.#current
    const look = async (): Promise<boolean> => {
      const read = await this.read(signal)
      if (signal.aborted || equals(AgentFactsSchema, read, told)) return false
      told = read
      this.#options.onChange()
      return true
    }
    await look()
    while (!signal.aborted) {
      const waiting = new AbortController()
      const due = sleep(jittered(this.#options.intervalMs ?? INTERVAL_MS), AbortSignal.any([signal, waiting.signal]))
      const isWoken = await Promise.race([
        due.then(() => false).catch(() => false),
        this.#wakeUp.promise.then(() => true),
      ])
      waiting.abort()
      // Before anything is read: what changes meanwhile is looked at once more.
      this.#wakeUp = Promise.withResolvers()
      for (const settleMs of isWoken ? SETTLE_MS : [0]) {
        await sleep(settleMs, signal).catch(() => undefined)
        if (signal.aborted || (await look())) break
      }
    }
  }

  /** Undefined when the API server does not say, or too much to be told: then what was told before stays. */
  async #readServed(signal: AbortSignal): Promise<ServedVersion[] | undefined> {
    const found = await orUndefined(this.#options.kube.servedKinds({ signal, timeoutMs: TIMEOUT_MS }))
    if (!found) return undefined
    // An aggregated API that does not answer has not gone: what it served is kept.
    const isUnread = ({ apiVersion }: ServedVersion): boolean => found.unread.includes(splitApiVersion(apiVersion)[0])
    const kept = this.#current.served.filter((each) => isUnread(each) && !found.kinds.has(each.apiVersion))
    const read = [...found.kinds].map(([apiVersion, kinds]) =>
      create(ServedVersionSchema, { apiVersion, kinds: [...kinds] }),
    )
    const served = [...read, ...kept].sort((a, b) => (a.apiVersion < b.apiVersion ? -1 : 1))
    const bytes = toBinary(AgentFactsSchema, create(AgentFactsSchema, { served })).length
    const isTooMuch = bytes > MAX_SERVED_BYTES
    if (isTooMuch && !this.#isTooMuch) {
      const message = 'the API server serves more kinds than the hub can be told: charts see what it was told before'
      this.#options.logger.warn({ bytes, limit: MAX_SERVED_BYTES }, message)
    }
    this.#isTooMuch = isTooMuch
    return isTooMuch ? undefined : served
  }
}

async function get(kube: ClusterFactsOptions['kube'], path: string, signal: AbortSignal): Promise<unknown> {
  const answer = await orUndefined(kube.request({ method: 'GET', path, signal, timeoutMs: TIMEOUT_MS }))
  return answer?.status === 200 ? answer.body : undefined
}

async function orUndefined<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof AppError && error.kind !== 'bug') return undefined
    throw error
  }
}
