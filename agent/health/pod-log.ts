// The last lines that a container at fault wrote. They may hold secrets: read only where the cluster's owner allows it.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import type { Kube } from '../kube/kube.ts'
import { fieldsOf, itemsOf, numberOf, statusOf, textOf } from './conditions.ts'

/** Most lines, and characters of each. */
const LOG_LINES_MAX = 10
const LINE_LENGTH_MAX = 200
const LOG_BYTES_MAX = 16_384
const TIMEOUT_MS = 10_000

/** A container whose log may say what is wrong. */
export interface BlamedContainer {
  readonly name: string
  /** Its last run, not the present one: it crashed and waits to be started again. */
  readonly previous: boolean
}

/** Which container of a pod is at fault: one that crashed, before one that is not ready; undefined when none ran. */
export function findBlamedContainer(pod: KubernetesObject): BlamedContainer | undefined {
  const { initContainerStatuses, containerStatuses } = statusOf(pod)
  const containers = [...itemsOf(initContainerStatuses), ...itemsOf(containerStatuses)].filter(
    ({ name }) => typeof name === 'string' && name !== '',
  )
  const name = (container: Record<string, unknown>): string => textOf(container.name)
  const crashed = containers.find((container) => isFailure(container.state))
  if (crashed) return { name: name(crashed), previous: false }
  const restarted = containers.find((container) => container.ready !== true && isFailure(container.lastState))
  if (restarted) return { name: name(restarted), previous: true }
  const unready = containers.find((container) => container.ready !== true && 'running' in fieldsOf(container.state))
  return unready && { name: name(unready), previous: false }
}

function isFailure(state: unknown): boolean {
  const { terminated } = fieldsOf(state)
  if (terminated === undefined) return false
  const { exitCode, reason } = fieldsOf(terminated)
  return (numberOf(exitCode) ?? 0) !== 0 || textOf(reason) === 'Error'
}

/** The last lines of a container, cleaned and bounded; none when they cannot be had. Throws only Aborted. */
export async function readLogLines(
  kube: Kube,
  pod: KubernetesObject,
  container: BlamedContainer,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { name, namespace = '' } = pod.metadata
  try {
    const { status, body } = await kube.request({
      method: 'GET',
      path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log`,
      query: {
        container: container.name,
        tailLines: LOG_LINES_MAX,
        limitBytes: LOG_BYTES_MAX,
        ...(container.previous ? { previous: true } : {}),
      },
      accept: '*/*',
      timeoutMs: TIMEOUT_MS,
      signal,
    })
    return status === 200 && typeof body === 'string' ? cleanLogLines(body) : []
  } catch (error) {
    if (signal.aborted) throw error
    return []
  }
}

/** The last lines of a text, without colours and control characters, shortened; empty ones are left out. */
export function cleanLogLines(text: string): string[] {
  return text
    .split(/\r?\n|\r/)
    .map((line) => line.replaceAll(/\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?/g, ''))
    .map((line) =>
      line
        .replaceAll('\t', ' ')
        .replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, '')
        .trimEnd(),
    )
    .filter((line) => line !== '')
    .slice(-LOG_LINES_MAX)
    .map((line) => (line.length <= LINE_LENGTH_MAX ? line : `${[...line].slice(0, LINE_LENGTH_MAX - 1).join('')}…`))
}
