// fairlead status: every application on every cluster, once, watched, or until all is well.
import { create } from '@bufbuild/protobuf'
import { type FleetStatus, FleetStatusSchema, GetFleetStatusRequestSchema } from '@fairlead/proto/fleet'
import { AppError } from '@fairlead/shared/errors'
import { Command, Option } from 'commander'
import { type Cli, durationOption, present, withHub } from '../cli.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { assessReadiness } from '../fleet/readiness.ts'
import { watchFleet } from '../fleet/watch-fleet.ts'
import { messageToData } from '../output/json.ts'
import { createStatusPrinter, type StatusFormat } from '../output/status-printer.ts'

interface Options {
  readonly cluster: string
  readonly application: string
  readonly watch?: boolean
  readonly wait?: boolean
  readonly timeout: number
  readonly revision?: string
  readonly exitCode?: boolean
  readonly output: StatusFormat
}

/** The command. */
export function createStatusCommand(cli: Cli): Command {
  const command = new Command('status')
    .description('show every application on every cluster: revision, sync, health and drift')
    .option('-c, --cluster <name>', 'only this cluster', '')
    .option('-a, --application <name>', 'only this application', '')
    .addOption(new Option('-w, --watch', 'show it again whenever it changes, until Ctrl-C').conflicts('wait'))
    .option('--wait', 'wait until everything is Synced and Healthy, then show it')
    .option('--timeout <duration>', 'longest time for --wait (default: 5m)', durationOption, 300_000)
    .option('--revision <commit>', 'with --wait or --exit-code: everything must run this commit (a prefix will do)')
    .option('--exit-code', `exit with ${EXIT_CODES.notReady.code} when something is not Synced and Healthy`)
    .addOption(
      new Option('-o, --output <format>', 'format').choices(['table', 'wide', 'json', 'yaml']).default('table'),
    )
    .action(async (options: Options) => {
      if (options.watch) await watch(cli, command, options)
      else
        await show(
          cli,
          options,
          options.wait ? await waitUntilReady(cli, command, options) : await fetch(cli, command, options),
        )
    })
  return command
}

async function fetch(cli: Cli, command: Command, { cluster, application }: Options): Promise<FleetStatus> {
  const request = create(GetFleetStatusRequestSchema, { cluster, application })
  const { status } = await withHub(cli, command, (hub) => hub.fleet.getFleetStatus(request))
  return requireNamed(present(status, 'the status'), { cluster, application })
}

/** A name that nothing bears is an error, not an empty table. */
function requireNamed(
  status: FleetStatus,
  { cluster, application }: Pick<Options, 'cluster' | 'application'>,
): FleetStatus {
  if (cluster !== '' && !status.clusters.some(({ name }) => name === cluster)) {
    throw new AppError('NotFound', `there is no cluster ${cluster}`)
  }
  if (application !== '' && !status.applications.some(({ metadata }) => metadata?.name === application)) {
    throw new AppError('NotFound', `there is no application ${application}`)
  }
  return status
}

async function show(cli: Cli, options: Options, status: FleetStatus): Promise<void> {
  if (options.output === 'json' || options.output === 'yaml') {
    cli.output.data(messageToData(FleetStatusSchema, status), options.output)
  } else {
    createStatusPrinter(cli.output, options.output).print(status)
  }
  const { ready, reasons } = assessReadiness(status, { commit: options.revision, cluster: options.cluster })
  if (ready || !(options.exitCode || options.wait)) return
  if (options.wait)
    cli.output.note(`error: the time is up and not everything is Synced and Healthy:\n  ${reasons.join('\n  ')}`)
  cli.exitCode = EXIT_CODES.notReady.code
}

/** The first state in which everything is ready, or the last one before the time was up. */
async function waitUntilReady(cli: Cli, command: Command, options: Options): Promise<FleetStatus> {
  const timeout = AbortSignal.timeout(options.timeout)
  let last: FleetStatus | undefined
  let told = ''
  await withHub(cli, command, async (hub) => {
    const signal = AbortSignal.any([cli.signal, timeout])
    for await (const status of watchFleet(hub, { ...options, signal, onAway: (reason) => cli.output.note(reason) })) {
      last = requireNamed(status, options)
      const { ready, reasons } = assessReadiness(last, { commit: options.revision, cluster: options.cluster })
      if (ready) return
      const waiting = `waiting: ${reasons[0]}${reasons.length > 1 ? ` (and ${reasons.length - 1} more)` : ''}`
      if (cli.output.isTerminal && waiting !== told) cli.output.note(waiting)
      told = waiting
    }
  })
  cli.signal.throwIfAborted()
  return last ?? (await fetch(cli, command, options))
}

async function watch(cli: Cli, command: Command, options: Options): Promise<void> {
  const printer = createStatusPrinter(cli.output, options.output)
  const isDrawn = cli.output.isTerminal && (options.output === 'table' || options.output === 'wide')
  let last: FleetStatus | undefined
  // Ages grow although nothing changes.
  const redraw = isDrawn ? setInterval(() => last && printer.update(last), 1_000) : undefined
  try {
    await withHub(cli, command, async (hub) => {
      const { signal } = cli
      for await (const status of watchFleet(hub, { ...options, signal, onAway: (reason) => cli.output.note(reason) })) {
        last = status
        printer.update(status)
      }
    })
  } finally {
    clearInterval(redraw)
  }
}
