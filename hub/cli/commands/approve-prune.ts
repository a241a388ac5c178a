// fairlead approve-prune: lets an agent delete what a guard holds, after showing exactly what that is.
import { create } from '@bufbuild/protobuf'
import { ApprovePruneRequestSchema } from '@fairlead/proto/applications'
import { GetFleetStatusRequestSchema } from '@fairlead/proto/fleet'
import type { HeldPrune } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../cli.ts'
import type { HubClient } from '../client.ts'
import { heldPruneLines, waitLines } from '../output/held-prunes.ts'
import { plain, plural } from '../output/text.ts'
import { confirm } from './confirm.ts'

interface Options {
  readonly cluster: string
  readonly digest: string
  readonly yes?: boolean
}

/** The command. */
export function createApprovePruneCommand(cli: Cli): Command {
  const command = new Command('approve-prune')
    .description('delete what a guard keeps from being deleted on a cluster: exactly what is shown, nothing else')
    .argument('<application>', 'name of the application')
    .requiredOption('-c, --cluster <name>', 'name of the cluster')
    .option(
      '--digest <digest>',
      'digest of the held prune, or its first characters (default: the one that is held)',
      '',
    )
    .option('-y, --yes', 'do not ask; needed where nobody can be asked')
    .action(async (application: string, options: Options) => {
      await withHub(cli, command, (hub) => approve(cli, hub, application, options))
    })
  return command
}

async function approve(cli: Cli, hub: HubClient, application: string, options: Options): Promise<void> {
  const { cluster, yes = false } = options
  const { status } = await hub.fleet.getFleetStatus(create(GetFleetStatusRequestSchema, { application, cluster }))
  const before = present(status, 'the status')
  const [deployment] = before.deployments
  const prune = selectHeld(deployment?.report?.heldPrunes ?? [], application, options)
  const now = Date.now()
  for (const line of heldPruneLines(prune, now, Number.POSITIVE_INFINITY)) cli.output.line(line)
  const question = `Delete ${plural(prune.count, 'object')} of ${application} on ${cluster}?`
  if (!yes && !(await confirm(cli, question))) {
    throw new AppError('InvalidArgument', 'nothing was approved; --yes approves it without asking')
  }
  // What was shown is what is approved: had it changed meanwhile, the digest would be another one.
  const request = create(ApprovePruneRequestSchema, { application, cluster, digest: prune.digest })
  await hub.applications.approvePrune(request)
  cli.output.line(`application/${application}: prune ${prune.digest.slice(0, 12)} approved on ${cluster}`)
  for (const line of waitLines(before)) cli.output.line(line)
}

function selectHeld(held: readonly HeldPrune[], application: string, { cluster, digest }: Options): HeldPrune {
  const found = held.filter((one) => one.digest.startsWith(digest))
  const [first, second] = found
  if (first && !second) return first
  const where = `${application} on ${cluster}`
  if (first) {
    const digests = found.map((one) => plain(one.digest).slice(0, 12)).join(', ')
    throw new AppError('InvalidArgument', `${where} holds more than one prune, name one by --digest: ${digests}`)
  }
  const which = digest === '' ? 'no prune' : `no prune whose digest begins with ${digest}`
  throw new AppError('FailedPrecondition', `${where} holds ${which}; what would be deleted may have changed`)
}
