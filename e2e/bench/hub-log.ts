// What the hub says in its log: benchmarks take times from there, since asking it meanwhile would take the processor from
// what is measured.
import type { Fleet } from '../harness/fleet.ts'

/** One line of the hub's log. */
export interface HubLine {
  readonly msg: string
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly application?: string
  readonly commit?: string
  readonly outcome?: string
}

/** The lines that the hub's present process has written since then, oldest first. */
export function readHubLog({ hub }: Fleet, since = 0): HubLine[] {
  const lines = hub.readLog().split('\n')
  return lines.flatMap((line) => {
    if (!line.startsWith('{')) return []
    const { time, ...rest } = JSON.parse(line) as Omit<HubLine, 'time'> & { readonly time: string }
    const at = Date.parse(time)
    return at >= since ? [{ ...rest, time: at }] : []
  })
}
