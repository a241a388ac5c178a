// fairlead version: of the CLI and of the hub.
import { create, type MessageShape } from '@bufbuild/protobuf'
import { GetHubStatusRequestSchema, GetHubStatusResponseSchema } from '@fairlead/proto/fleet'
import { VERSION } from '@fairlead/shared/version'
import { Command, Option } from 'commander'
import { type Cli, withHub } from '../cli.ts'
import { messageToData } from '../output/json.ts'
import { agoOf, plain } from '../output/text.ts'

interface Options {
  readonly client?: boolean
  readonly output: 'text' | 'json' | 'yaml'
}

/** The command. */
export function createVersionCommand(cli: Cli): Command {
  const command = new Command('version')
    .description('show the version of this program and of the hub')
    .option('--client', 'only of this program; talks to no hub')
    .addOption(new Option('-o, --output <format>', 'format').choices(['text', 'json', 'yaml']).default('text'))
    .action(async ({ client = false, output }: Options) => {
      if (output === 'text') cli.output.line(`client ${VERSION}`)
      const request = create(GetHubStatusRequestSchema)
      const hub = client ? undefined : await withHub(cli, command, (connected) => connected.fleet.getHubStatus(request))
      if (output !== 'text') {
        const data = hub && messageToData(GetHubStatusResponseSchema, hub)
        cli.output.data({ client: { version: VERSION }, ...(data !== undefined && { hub: data }) }, output)
      } else if (hub) {
        cli.output.line(describeHub(hub))
      }
    })
  return command
}

function describeHub(hub: MessageShape<typeof GetHubStatusResponseSchema>): string {
  const nats = hub.natsConnected ? 'NATS connected' : 'NATS away'
  const waiting = hub.outbox > 0 ? `, ${hub.outbox} documents to publish` : ''
  const counts = [
    [hub.refusedTokens, 'join tokens'],
    [hub.refusedBearers, 'bearer tokens'],
    [hub.refusedWebhooks, 'webhooks'],
  ] as const
  const refused = counts.map(([count, kind]) => (count > 0n ? `, ${count} ${kind} refused` : '')).join('')
  return `hub    ${plain(hub.version)} (started ${agoOf(hub.startedAt, Date.now())}, ${nats}${waiting}${refused})`
}
