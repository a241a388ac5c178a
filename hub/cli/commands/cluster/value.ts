// fairlead cluster value: sets and removes values.
import { create } from '@bufbuild/protobuf'
import { UpdateClusterValuesRequestSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'
import { formatLabels } from '../../output/text.ts'
import { parseLabelChanges } from './label.ts'

/** The command. */
export function createValueCommand(cli: Cli): Command {
  const command = new Command('value')
    .description(
      'set values by key=value and remove them by key-; manifests that use ${cluster.values.<key>} follow at once. Not for secrets',
    )
    .argument('<name>', 'name of the cluster')
    .argument('<change...>', 'key=value or key-')
    .action(async (name: string, changes: string[]) => {
      const request = create(UpdateClusterValuesRequestSchema, { name, ...parseLabelChanges(changes) })
      const { cluster } = await withHub(cli, command, (hub) => hub.clusters.updateClusterValues(request))
      cli.output.line(`cluster/${name} has the values: ${formatLabels(cluster?.values ?? {})}`)
    })
  return command
}
