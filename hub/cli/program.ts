// The command line of `fairlead`: every command, and how a run ends.
import { type AppError, toAppError } from '@fairlead/shared/errors'
import { formatErrorDetail, ProblemsError } from '@fairlead/shared/grpc-status'
import { VERSION } from '@fairlead/shared/version'
import { Command, CommanderError } from 'commander'
import type { Cli } from './cli.ts'
import { createAdoptCommand } from './commands/adopt.ts'
import { createApplicationCommand } from './commands/application/application.ts'
import { createApplyCommand } from './commands/apply.ts'
import { createApprovePruneCommand } from './commands/approve-prune.ts'
import { createBootstrapCommand } from './commands/bootstrap.ts'
import { createClusterCommand } from './commands/cluster/cluster.ts'
import { createCompletionCommands } from './commands/completion.ts'
import { createContextCommand } from './commands/context/context.ts'
import { createDeleteCommand } from './commands/delete.ts'
import { createDiffCommand } from './commands/diff.ts'
import { createGetCommand } from './commands/get.ts'
import { createHubCommand } from './commands/hub.ts'
import { createRenderCommand } from './commands/render.ts'
import { createRepositoryCommand } from './commands/repository/repository.ts'
import { createStatusCommand } from './commands/status.ts'
import { createUnbootstrapCommand } from './commands/unbootstrap.ts'
import { createValidateCommand } from './commands/validate.ts'
import { createVersionCommand } from './commands/version.ts'
import { createWhyCommand } from './commands/why.ts'
import { EXIT_CODES, exitCodeOf, hintOf } from './exit-codes.ts'
import { plain } from './output/text.ts'

/** The whole command line. */
export function createProgram(cli: Cli): Command {
  const program = createPlainProgram(cli)
  const [completion, complete] = createCompletionCommands(() => configureAll(createPlainProgram(cli), cli))
  program.addCommand(completion)
  program.addCommand(complete, { hidden: true })
  return configureAll(program, cli)
}

function createPlainProgram(cli: Cli): Command {
  return new Command('fairlead')
    .description('keeps a fleet of Kubernetes clusters equal to Git')
    .version(VERSION, '-V, --version', 'print the version of this program')
    .option('--context <name>', 'context to use (default: $FAIRLEAD_CONTEXT, else the current one)')
    .option('--config <file>', 'context file (default: $FAIRLEAD_CONFIG, else ~/.config/fairlead/config.yaml)')
    .addCommand(createHubCommand(cli))
    .addCommand(createClusterCommand(cli))
    .addCommand(createRepositoryCommand(cli))
    .addCommand(createApplicationCommand(cli))
    .addCommand(createApplyCommand(cli))
    .addCommand(createBootstrapCommand(cli))
    .addCommand(createUnbootstrapCommand(cli))
    .addCommand(createGetCommand(cli))
    .addCommand(createDeleteCommand(cli))
    .addCommand(createApprovePruneCommand(cli))
    .addCommand(createAdoptCommand(cli))
    .addCommand(createStatusCommand(cli))
    .addCommand(createWhyCommand(cli))
    .addCommand(createRenderCommand(cli))
    .addCommand(createDiffCommand(cli))
    .addCommand(createValidateCommand(cli))
    .addCommand(createContextCommand(cli))
    .addCommand(createVersionCommand(cli))
}

/** A command and all below it. */
export function* walk(command: Command): Generator<Command> {
  yield command
  for (const child of command.commands) yield* walk(child)
}

function configureAll(program: Command, cli: Cli): Command {
  for (const command of walk(program)) configure(command, cli)
  return program
}

function configure(command: Command, cli: Cli): void {
  command.exitOverride().helpCommand(false).showHelpAfterError('hint: --help shows how it is used')
  command.configureOutput({
    writeOut: (text) => cli.output.raw(text),
    writeErr: (text) => cli.output.note(text.trimEnd()),
  })
}

/** Runs one command line (without the program's own name) and returns its exit code; failures are told on standard error. */
export async function runCommandLine(args: readonly string[], cli: Cli): Promise<number> {
  try {
    await createProgram(cli).parseAsync(args, { from: 'user' })
    return cli.exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok.code : EXIT_CODES.usage.code
    if (cli.signal.aborted) return EXIT_CODES.interrupted.code
    const failure = toAppError(error)
    for (const line of describeFailure(failure)) cli.output.note(line)
    return exitCodeOf(failure)
  }
}

/** `error: file:line: object: what is wrong`, one line for each problem, and a hint where there is one. */
export function describeFailure(error: AppError): string[] {
  const { field: _, ...place } = error.context
  const problems = error instanceof ProblemsError ? error.problems : [{ ...place, message: error.message }]
  const lines = problems.flatMap((problem) => formatErrorDetail(problem).split('\n'))
  const hint = hintOf(error)
  return [
    ...lines.filter((line) => line.trim() !== '').map((line) => `error: ${plain(line)}`),
    ...(error.code === 'Internal' && !isFromHub(error) && error.stack ? [error.stack] : []),
    ...(hint === undefined ? [] : [`hint: ${hint}`]),
  ]
}

/** The stack of a defect in the hub is in the hub's log, not here. */
function isFromHub(error: AppError): boolean {
  return typeof (error.cause as { details?: unknown } | undefined)?.details === 'string'
}
