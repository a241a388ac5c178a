// fairlead cluster register: makes a cluster and prints how its agent joins.
import { create } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { RegisterClusterRequestSchema, RegisterClusterResponseSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, collectPairs, durationOption, present, withHub } from '../../cli.ts'
import { messageToData } from '../../output/json.ts'
import { addJoinOptions, type JoinOutputOptions, printJoin } from './join-output.ts'

interface Options extends JoinOutputOptions {
  readonly label?: Readonly<Record<string, string>>
  readonly ttl?: number
}

/** The command. */
export function createRegisterCommand(cli: Cli): Command {
  const command = new Command('register')
    .description('make a cluster and print the helm command, with a one-time token, by which its agent joins')
    .argument('<name>', 'name of the cluster: a DNS label')
    .option('-l, --label <key=value>', 'label, for placements to select by (repeatable)', collectPairs)
  return addJoinOptions(command, durationOption).action(async (name: string, options: Options) => {
    const request = create(RegisterClusterRequestSchema, {
      name,
      labels: options.label ?? {},
      ...(options.ttl === undefined ? {} : { tokenTtl: durationFromMs(options.ttl) }),
    })
    const response = await withHub(cli, command, (hub) => hub.clusters.registerCluster(request))
    if (options.output !== 'text' && !options.tokenOnly) {
      cli.output.data(messageToData(RegisterClusterResponseSchema, response), options.output)
      return
    }
    if (!options.tokenOnly) cli.output.note(`cluster/${name} registered`)
    printJoin(cli.output, present(response.join, 'join instructions'), options)
  })
}
