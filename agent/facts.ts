// What the agent tells the hub of its cluster.
import { create } from '@bufbuild/protobuf'
import { type AgentFacts, AgentFactsSchema } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { VERSION } from '@fairlead/shared/version'
import type { Kube } from './kube/kube.ts'

const TIMEOUT_MS = 5_000

/** How facts are read. */
export interface FactsOptions {
  /** What was read before. */
  readonly last: AgentFacts | undefined
  /** The agent has rights in some namespaces only: nothing outside of them is asked for. */
  readonly isLimited: boolean
  readonly signal: AbortSignal
}

/** Reads versions and the cluster's uid. What cannot be read, or may not be, stays as it was in `last`. */
export async function readFacts(kube: Kube, { last, isLimited, signal }: FactsOptions): Promise<AgentFacts> {
  const [version, namespace] = await Promise.all([
    read(kube, '/version', signal),
    isLimited ? undefined : read(kube, '/api/v1/namespaces/kube-system', signal),
  ])
  const { gitVersion } = (version ?? {}) as { gitVersion?: string }
  const { metadata } = (namespace ?? {}) as { metadata?: { uid?: string } }
  return create(AgentFactsSchema, {
    agentVersion: VERSION,
    kubernetesVersion: gitVersion ?? last?.kubernetesVersion ?? '',
    clusterUid: metadata?.uid ?? last?.clusterUid ?? '',
  })
}

async function read(kube: Kube, path: string, signal: AbortSignal): Promise<unknown> {
  try {
    const { status, body } = await kube.request({ method: 'GET', path, signal, timeoutMs: TIMEOUT_MS })
    return status === 200 ? body : undefined
  } catch (error) {
    if (error instanceof AppError && error.kind !== 'bug') return undefined
    throw error
  }
}
