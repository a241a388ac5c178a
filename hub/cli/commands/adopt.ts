// fairlead adopt: what taking over existing objects would change. Taking them over is what the application's policy says.
import { create } from '@bufbuild/protobuf'
import { PreviewApplicationRequestSchema, PreviewApplicationResponseSchema } from '@fairlead/proto/applications'
import { AppError } from '@fairlead/shared/errors'
import { Command, Option } from 'commander'
import { type Cli, withHub } from '../cli.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { messageToData } from '../output/json.ts'
import { changeLines } from '../output/object-changes.ts'
import { formatProblem } from '../output/text.ts'

interface Options {
  readonly cluster: string
  readonly dryRun?: boolean
  readonly all?: boolean
  readonly output: 'table' | 'json' | 'yaml'
}

/** Above what the hub gives an agent for an answer that comes in parts (five minutes), and some turns before it. */
const TIMEOUT_MS = 360_000

const HOW = `objects are taken over as the application says: set spec.sync.adopt to "always" (or leave "ifEqual", which takes over \
what does not differ) and apply it; --dry-run shows what that would change`

/** The command. */
export function createAdoptCommand(cli: Cli): Command {
  const command = new Command('adopt')
    .description('show what an application would change on a cluster, objects that others manage now among it')
    .argument('<application>', 'name of the application')
    .requiredOption('-c, --cluster <name>', 'name of the cluster')
    .option('--dry-run', 'needed: nothing is ever changed by this command')
    .option('--all', 'list objects that would not change, too')
    .addOption(new Option('-o, --output <format>', 'format').choices(['table', 'json', 'yaml']).default('table'))
    .action(async (application: string, options: Options) => {
      if (!options.dryRun) throw new AppError('InvalidArgument', HOW)
      await preview(cli, command, application, options)
    })
  return command
}

async function preview(cli: Cli, command: Command, application: string, options: Options): Promise<void> {
  const { cluster, output, all = false } = options
  const request = create(PreviewApplicationRequestSchema, { application, cluster })
  const response = await withHub(cli, command, (hub) =>
    hub.applications.previewApplication(request, { timeoutMs: TIMEOUT_MS }),
  )
  const isWhole = response.problems.length === 0
  if (!isWhole) cli.exitCode = EXIT_CODES.failure.code
  if (output !== 'table') {
    cli.output.data(messageToData(PreviewApplicationResponseSchema, response), output)
    return
  }
  for (const line of changeLines(response.changes, { all, isWhole })) cli.output.line(line)
  for (const problem of response.problems) cli.output.line(`problem: ${formatProblem(problem, Date.now())}`)
}
