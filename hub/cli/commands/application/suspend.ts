// fairlead application suspend and resume.
import { create } from '@bufbuild/protobuf'
import { SuspendApplicationRequestSchema } from '@fairlead/proto/applications'
import { Command } from 'commander'
import { type Cli, withHub } from '../../cli.ts'

/** fairlead application suspend. */
export function createSuspendCommand(cli: Cli): Command {
  const description =
    'change nothing of an application on any cluster until it is resumed; what differs from Git is reported and left'
  return createCommand(cli, { name: 'suspend', description, suspend: true })
}

/** fairlead application resume. */
export function createResumeCommand(cli: Cli): Command {
  const description = 'let a suspended application go on: its newest revision is applied and what drifted is put back'
  return createCommand(cli, { name: 'resume', description, suspend: false })
}

interface Verb {
  readonly name: 'suspend' | 'resume'
  readonly description: string
  readonly suspend: boolean
}

function createCommand(cli: Cli, { name: verb, description, suspend }: Verb): Command {
  const command = new Command(verb)
    .description(description)
    .argument('<name>', 'name of the application')
    .action(async (name: string) => {
      const request = create(SuspendApplicationRequestSchema, { name, suspend })
      await withHub(cli, command, (hub) => hub.applications.suspendApplication(request))
      cli.output.line(`application/${name} ${suspend ? 'suspended' : 'resumed'}`)
    })
  return command
}
