// Hooks of the present revision, as lines of text. Pure.
import type { Deployment } from '@fairlead/proto/fleet'
import type { HookStatus } from '@fairlead/proto/report'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { plain } from './text.ts'

/** One hook: when it runs, which Job it is, how far it is, and why. */
export function formatHook({ object, phase, state, message }: HookStatus): string {
  const job = object ? plain(formatObjectReference(object)) : '-'
  return `${plain(phase)} hook ${job}: ${plain(state)}${message === '' ? '' : `: ${plain(message)}`}`
}

/** The hooks of a deployment that its revision waits for now. */
export function runningHooksOf({ application, cluster, report }: Deployment): string[] {
  const running = (report?.hooks ?? []).filter(({ state }) => state === 'running')
  return running.map((hook) => `${plain(application)} on ${plain(cluster)}: ${formatHook(hook)}`)
}
