// What the agent as shipped says in its log: benchmarks take times from there, since asking the hub meanwhile would take
// the processor from what is measured.
import { waitFor } from '../harness/wait.ts'
import type { Bench } from './workload.ts'

/** One line of the agent's log. */
export interface AgentLine {
  readonly msg: string
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly application?: string
  readonly generation?: string
}

/** The lines that the agent's present process has written, oldest first. */
export function readAgentLog({ fleet }: Bench): AgentLine[] {
  const { kubelet } = fleet.getCluster('bench')
  return kubelet.process.readLog().split('\n').flatMap(parseLine)
}

/** Waits until `find` finds something in the agent's log, and returns it. Throws after two minutes with the log. */
export async function waitForAgentLog<T>(
  bench: Bench,
  what: string,
  find: (lines: readonly AgentLine[]) => T | undefined,
): Promise<T> {
  const { kubelet } = bench.fleet.getCluster('bench')
  const read = (): { readonly found: T } | undefined => {
    const found = find(readAgentLog(bench))
    return found === undefined ? undefined : { found }
  }
  const { found } = await waitFor(what, read, { timeoutMs: 120_000, intervalMs: 250, logs: [kubelet] })
  return found
}

function parseLine(line: string): AgentLine[] {
  if (!line.startsWith('{')) return []
  const { time, ...rest } = JSON.parse(line) as Omit<AgentLine, 'time'> & { readonly time: string }
  return [{ ...rest, time: Date.parse(time) }]
}
