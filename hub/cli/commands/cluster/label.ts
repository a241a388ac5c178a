// fairlead cluster label: sets and removes labels.
import { create } from '@bufbuild/protobuf'
import { UpdateClusterLabelsRequestSchema } from '@fairlead/proto/clusters'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { formatLabels } from '../../output/text.ts'

/** The command. */
export function createLabelCommand(cli: Cli): Command {
  const command = new Command('label')
    .description('set labels by key=value and remove them by key-; placements follow at once')
    .argument('<name>', 'name of the cluster')
    .argument('<change...>', 'key=value or key-')
    .action(async (name: string, changes: string[]) => {
      const request = create(UpdateClusterLabelsRequestSchema, { name, ...parseLabelChanges(changes) })
      const { cluster } = await withHub(cli, command, (hub) => hub.clusters.updateClusterLabels(request))
      cli.output.line(`cluster/${name} labelled: ${formatLabels(cluster?.labels ?? {})}`)
    })
  return command
}

/** Splits `key=value` and `key-`, as kubectl label. Throws InvalidArgument for anything else and for a key named twice. */
export function parseLabelChanges(changes: readonly string[]): { set: Record<string, string>; remove: string[] } {
  const set = new Map<string, string>()
  const remove = new Set<string>()
  for (const change of changes) {
    const equals = change.indexOf('=')
    const key = equals > 0 ? change.slice(0, equals) : change.replace(/-$/, '')
    if (key === '' || (equals <= 0 && !change.endsWith('-'))) {
      throw new AppError('InvalidArgument', `"${change}" is neither key=value nor key-`)
    }
    if (set.has(key) || remove.has(key)) throw new AppError('InvalidArgument', `${key} is named twice`)
    if (equals > 0) set.set(key, change.slice(equals + 1))
    else remove.add(key)
  }
  return { set: Object.fromEntries(set), remove: [...remove] }
}
