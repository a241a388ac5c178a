// fairlead render: what a cluster is given of an application, and where that comes from.
import { create } from '@bufbuild/protobuf'
import {
  type Capabilities,
  RenderApplicationRequestSchema,
  type RenderApplicationResponse,
  RenderApplicationResponseSchema,
} from '@fairlead/proto/applications'
import { Command, Option } from 'commander'
import { dump } from 'js-yaml'
import { type Cli, withHub } from '../cli.ts'
import { messageToData } from '../output/json.ts'
import { formatProblem, formatRevision, plain } from '../output/text.ts'

interface Options {
  readonly cluster: string
  readonly explain?: boolean
  readonly revision: string
  readonly output: 'yaml' | 'json'
}

/** The command. */
export function createRenderCommand(cli: Cli): Command {
  const command = new Command('render')
    .description('show the objects that a cluster is given of an application, its overrides and variables included')
    .argument('<application>', 'name of the application')
    .requiredOption('-c, --cluster <name>', 'name of the cluster')
    .option('--revision <commit>', 'what it would be given at this commit, or at a ref that is followed', '')
    .option('--explain', 'show in place of the objects where they come from: overrides, values, variables')
    .addOption(new Option('-o, --output <format>', 'format').choices(['yaml', 'json']).default('yaml'))
    .action(async (application: string, { cluster, explain = false, revision, output }: Options) => {
      const request = create(RenderApplicationRequestSchema, { application, cluster, revision })
      const response = await withHub(cli, command, (hub) => hub.applications.renderApplication(request))
      if (output === 'json') cli.output.data(messageToData(RenderApplicationResponseSchema, response), 'json')
      else if (explain) printOrigins(cli, response)
      else printManifests(cli, response)
    })
  return command
}

function printManifests(cli: Cli, { manifests, problems }: RenderApplicationResponse): void {
  for (const { json, source } of manifests) {
    const place = source ? `${plain(source.file)}${source.line > 0 ? `:${source.line}` : ''}` : ''
    cli.output.raw(`---\n${place === '' ? '' : `# Source: ${place}\n`}${dump(JSON.parse(json), { lineWidth: -1 })}`)
  }
  // Comments, so that what is printed can be piped on.
  for (const problem of problems) cli.output.line(`# Problem: ${formatProblem(problem, Date.now())}`)
}

function describeCapabilities({ kubeVersion, apiVersions }: Capabilities): string {
  return `Kubernetes ${plain(kubeVersion)} with ${apiVersions.length} API versions and kinds, as it reports`
}

function printOrigins(cli: Cli, response: RenderApplicationResponse): void {
  const { revision, path, manifests, overrides, values, variables, problems, capabilities } = response
  const facts = [
    ['revision', formatRevision(revision, { whole: true })],
    ['path', path === '' ? '(the root)' : plain(path)],
    ['objects', `${manifests.length}`],
    ['overrides', overrides.length === 0 ? 'none' : overrides.map((index) => `overrides[${index}]`).join(', ')],
    ...(capabilities ? [['cluster', describeCapabilities(capabilities)]] : []),
    ['variables', variables.length === 0 ? 'none' : variables.map(plain).join(', ')],
  ]
  for (const [name = '', text = ''] of facts) cli.output.line(`${`${name}:`.padEnd(12)}${text}`)
  if (values.length > 0) {
    cli.output.line()
    cli.output.table({
      columns: ['VALUE', 'IS', 'FROM'],
      rows: values.map((each) => [plain(each.path), plain(each.json), plain(each.origin)]),
    })
  }
  for (const problem of problems) cli.output.line(`problem: ${formatProblem(problem, Date.now())}`)
}
