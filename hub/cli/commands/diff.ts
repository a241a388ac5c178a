// fairlead diff: how what two clusters are given differs, or what another revision or a working copy would change on a cluster.
import path from 'node:path'
import { create } from '@bufbuild/protobuf'
import {
  type Capabilities,
  GetApplicationRequestSchema,
  RenderApplicationRequestSchema,
  type RenderedManifest,
} from '@fairlead/proto/applications'
import { GetClusterRequestSchema } from '@fairlead/proto/clusters'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, collect, present, withHub } from '../cli.ts'
import type { HubClient } from '../client.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { diffManifests } from '../output/manifest-diff.ts'
import { formatProblem, plain } from '../output/text.ts'

interface Options {
  readonly cluster: readonly string[]
  readonly local?: string
  readonly from?: string
  readonly to?: string
}

/** One side of a comparison. */
interface Side {
  /** For the headings. */
  readonly title: string
  readonly manifests: readonly RenderedManifest[]
  readonly problems: readonly string[]
  /** What the cluster reports, where the application is rendered for that. */
  readonly capabilities?: Capabilities
}

const HOW = `compare two clusters (--cluster A --cluster B), or what one cluster is given with a working copy (--local DIR) \
or another revision (--to R), or two revisions (--from R --to R)`

/** The command. */
export function createDiffCommand(cli: Cli): Command {
  const command = new Command('diff')
    .description(
      'show how what an application gives on two clusters differs, or what a working copy or a revision would change on one',
    )
    .argument('<application>', 'name of the application')
    .requiredOption('-c, --cluster <name>', 'name of a cluster (give two to compare them)', collect)
    .option('--local <folder>', "working copy of the application's repository, to compare the cluster with")
    .option(
      '--from <commit>',
      'in place of what the cluster is given: what it would be given at this commit, or at a ref that is followed',
    )
    .option('--to <commit>', 'compare with what it would be given at this commit, or at a ref that is followed')
    .action(async (application: string, options: Options) => {
      const { cluster: clusters, local, from: revision, to: other } = options
      const [first = '', second] = clusters
      const others = [second, local, other].filter((each) => each !== undefined)
      if (clusters.length > 2 || others.length !== 1) throw new AppError('InvalidArgument', HOW)
      const { from, to } = await withHub(cli, command, async (hub) => {
        const side = await given(hub, { application, cluster: first, revision })
        const { capabilities } = side
        const otherSide =
          local === undefined
            ? await given(hub, { application, cluster: second ?? first, revision: other ?? revision })
            : await onDisk(hub, { application, cluster: first, folder: local, capabilities }, cli.signal)
        return { from: side, to: otherSide }
      })
      print(cli, from, to)
    })
  return command
}

async function given(
  hub: HubClient,
  { application, cluster, revision = '' }: { application: string; cluster: string; revision?: string | undefined },
): Promise<Side> {
  const request = create(RenderApplicationRequestSchema, { application, cluster, revision })
  const { manifests, problems, capabilities } = await hub.applications.renderApplication(request)
  const title = revision === '' ? cluster : `${cluster} at ${revision.slice(0, 12)}`
  const told = problems.map((problem) => formatProblem(problem, Date.now()))
  return { title, manifests, problems: told, ...(capabilities && { capabilities }) }
}

async function onDisk(
  hub: HubClient,
  {
    application: name,
    cluster: clusterName,
    folder,
    capabilities,
  }: { application: string; cluster: string; folder: string; capabilities: Capabilities | undefined },
  signal: AbortSignal,
): Promise<Side> {
  const { application } = await hub.applications.getApplication(create(GetApplicationRequestSchema, { name }))
  const { cluster } = await hub.clusters.getCluster(create(GetClusterRequestSchema, { name: clusterName }))
  // Only here: what it takes to render is much, and few commands need it.
  const { renderWorkingCopy } = await import('@fairlead/server/validate')
  const copy = {
    name,
    spec: present(present(application, 'the application').spec, 'its spec'),
    root: path.resolve(folder),
    cluster: present(cluster, 'the cluster'),
    capabilities,
  }
  return { title: folder, ...(await renderWorkingCopy(copy, signal)) }
}

function print(cli: Cli, from: Side, to: Side): void {
  const differences = diffManifests(from, to)
  for (const text of differences) cli.output.raw(text)
  for (const { title, problems } of [from, to]) {
    for (const problem of problems) cli.output.note(`${plain(title)}: problem: ${plain(problem)}`)
  }
  if (to.problems.length > 0) cli.exitCode = EXIT_CODES.failure.code
  else if (differences.length > 0) cli.exitCode = EXIT_CODES.different.code
}
