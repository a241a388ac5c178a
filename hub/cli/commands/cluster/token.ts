// fairlead cluster token: a new join token for a cluster that exists.
import { create } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { CreateJoinTokenRequestSchema, CreateJoinTokenResponseSchema } from '@fairlead/proto/clusters'
import { Command } from 'commander'
import { type Cli, durationOption, present, withHub } from '../../cli.ts'
import { messageToData } from '../../output/json.ts'
import { addJoinOptions, type JoinOutputOptions, printJoin } from './join-output.ts'

interface Options extends JoinOutputOptions {
  readonly ttl?: number
}

/** The command. */
export function createTokenCommand(cli: Cli): Command {
  const command = new Command('token')
    .description('make a new join token for a cluster; when it is used, the new agent replaces the old one')
    .argument('<name>', 'name of the cluster')
  return addJoinOptions(command, durationOption).action(async (name: string, options: Options) => {
    const request = create(CreateJoinTokenRequestSchema, {
      name,
      ...(options.ttl === undefined ? {} : { tokenTtl: durationFromMs(options.ttl) }),
    })
    const response = await withHub(cli, command, (hub) => hub.clusters.createJoinToken(request))
    if (options.output !== 'text' && !options.tokenOnly) {
      cli.output.data(messageToData(CreateJoinTokenResponseSchema, response), options.output)
      return
    }
    printJoin(cli.output, present(response.join, 'join instructions'), { ...options, upgrade: true })
  })
}
