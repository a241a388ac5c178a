// How the instructions to join a cluster are printed: the command to run on standard output, words about it on standard error.
import { timestampDate, timestampMs } from '@bufbuild/protobuf/wkt'
import type { JoinInstructions } from '@fairlead/proto/clusters'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Output } from '../../output/output.ts'
import { formatAge } from '../../output/text.ts'

/** Options of the printed helm command. */
export interface JoinOutputOptions {
  readonly output: 'text' | 'json' | 'yaml'
  readonly tokenOnly?: boolean
  readonly chart: string
  readonly agentNamespace: string
  readonly namespaces?: readonly string[]
}

/** Adds the options that printJoin reads, and the token's lifetime. */
export function addJoinOptions(command: Command, parseTtl: (text: string) => number): Command {
  return command
    .option('--ttl <duration>', 'how long the join token can be used, 1m to 7d (default: 1h)', parseTtl)
    .option(
      '--namespaces <list>',
      'let the agent manage only these namespaces (comma-separated), not the whole cluster',
      parseList,
    )
    .option('--chart <chart>', 'chart of the agent in the printed command', 'charts/agent')
    .option('--agent-namespace <name>', 'namespace of the agent in the printed command', 'fairlead-system')
    .option('--token-only', 'print only the join token')
    .addOption(new Option('-o, --output <format>', 'format').choices(['text', 'json', 'yaml']).default('text'))
}

function parseList(text: string): string[] {
  const names = text.split(',').filter((name) => name !== '')
  if (names.length === 0) throw new InvalidArgumentError('Name at least one namespace.')
  return names
}

/** Prints the helm command (or only the token) and what to know about it. */
export function printJoin(
  output: Output,
  join: JoinInstructions,
  options: JoinOutputOptions & { readonly upgrade?: boolean },
): void {
  if (options.tokenOnly) {
    output.line(join.token)
    return
  }
  if (join.expiresAt) {
    const until = timestampDate(join.expiresAt).toISOString().slice(0, 16).replace('T', ' ')
    output.note(
      `The join token works once, until ${until} UTC (${formatAge(timestampMs(join.expiresAt) - Date.now())}).`,
    )
  }
  output.note("Run this with kubectl's context set to the cluster:\n")
  output.line(helmCommand(join, options))
  output.note(`\n${authorityNote(options)}`)
}

function authorityNote({ namespaces }: JoinOutputOptions): string {
  return namespaces
    ? 'The agent may manage only the namespaces named there.'
    : 'Review rbac.clusterAdmin=true: it lets the agent manage every kind in every namespace. Narrower: --namespaces shop,web'
}

/** The helm command on several lines, quoted for a shell; with `upgrade` it also serves a cluster that has an agent. */
export function helmCommand(
  join: JoinInstructions,
  options: Pick<JoinOutputOptions, 'chart' | 'agentNamespace' | 'namespaces'> & { readonly upgrade?: boolean },
): string {
  const authority = options.namespaces ? `rbac.namespaces={${options.namespaces.join(',')}}` : 'rbac.clusterAdmin=true'
  const values = [`hub.address=${join.hubAddress}`, `hub.caPin=${join.caPin}`, `join.token=${join.token}`, authority]
  return [
    `helm ${options.upgrade ? 'upgrade --install' : 'install'} fairlead-agent ${quote(options.chart)}`,
    `--namespace ${quote(options.agentNamespace)} --create-namespace`,
    ...values.map((value) => `--set ${quote(value)}`),
  ].join(' \\\n  ')
}

function quote(text: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
