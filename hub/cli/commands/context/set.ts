// fairlead context set: makes or changes a context.
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, contextFilePath } from '../../cli.ts'
import { type Context, type ContextFile, readContextFile, writeContextFile } from '../../context-file.ts'

interface Options {
  readonly address?: string
  readonly caFile?: string
  readonly tokenFile?: string
  readonly use?: boolean
}

/** The command. */
export function createSetCommand(cli: Cli): Command {
  const command = new Command('set')
    .description('make a context or change what is given of it; the first one made is used from then on')
    .argument('<name>', 'name of the context')
    .option('--address <host:port>', "the hub's API")
    .option('--ca-file <file>', "PEM of the hub's CA (- for standard input)")
    .option('--token-file <file>', 'file that holds the bearer token (- for standard input)')
    .option('--use', 'use this context from now on')
    .action(async (name: string, options: Options) => {
      const file = contextFilePath(cli, command)
      const contexts = await readContextFile(file)
      const context = await changedContext(cli, { name, options, contexts })
      const others = contexts.contexts.filter((other) => other.name !== name)
      const currentContext = options.use || contexts.currentContext === '' ? name : contexts.currentContext
      await writeContextFile(file, { ...contexts, currentContext, contexts: [...others, context] })
      cli.output.line(`context/${name} ${others.length === contexts.contexts.length ? 'created' : 'configured'}`)
    })
  return command
}

async function changedContext(
  cli: Cli,
  { name, options, contexts }: { name: string; options: Options; contexts: ContextFile },
): Promise<Context> {
  const old = contexts.contexts.find((context) => context.name === name)
  const address = options.address ?? old?.address
  if (address === undefined) throw new AppError('InvalidArgument', `a new context needs --address`)
  if (!/^(\[[0-9A-Fa-f:.]+\]|[^\s:/]+):\d{1,5}$/.test(address)) {
    throw new AppError('InvalidArgument', `"${address}" is not host:port`)
  }
  return {
    ...old,
    name,
    address,
    caPem: options.caFile === undefined ? (old?.caPem ?? '') : await readInput(cli, options.caFile),
    token: options.tokenFile === undefined ? (old?.token ?? '') : (await readInput(cli, options.tokenFile)).trim(),
  }
}

async function readInput(cli: Cli, file: string): Promise<string> {
  if (file === '-') return await text(cli.stdin)
  return await readFile(file, 'utf8').catch((error: Error) => {
    throw new AppError('InvalidArgument', `cannot read ${file}: ${error.message}`, { cause: error })
  })
}
