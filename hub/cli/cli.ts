// What every command is given: where to write, the hub to talk to, and the signal that ends it.
import { AppError } from '@fairlead/shared/errors'
import { type Command, InvalidArgumentError } from 'commander'
import { createHubClient, type HubClient } from './client.ts'
import type { CliEnvironment } from './config.ts'
import { type Context, readContextFile, selectContext } from './context-file.ts'
import { parseDuration } from './duration.ts'
import type { Output } from './output/output.ts'

/** One run of the CLI. */
export interface Cli {
  readonly output: Output
  readonly environment: CliEnvironment
  readonly stdin: NodeJS.ReadableStream
  /** Aborts at the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  /** The exit code of a run that did not fail; `status` sets it. */
  exitCode: number
}

/** Options of every command. */
export interface GlobalOptions {
  readonly config?: string
  readonly context?: string
}

/** Path of the context file: --config, else the environment's. */
export function contextFilePath(cli: Cli, command: Command): string {
  return command.optsWithGlobals<GlobalOptions>().config ?? cli.environment.configPath
}

/** The context that the command line, the environment or the file chooses, in this order. */
export async function findContext(cli: Cli, command: Command): Promise<Context> {
  const file = contextFilePath(cli, command)
  const name = command.optsWithGlobals<GlobalOptions>().context ?? cli.environment.context
  return selectContext(await readContextFile(file), { name, file })
}

/** Runs `work` with a client of the chosen hub, and closes it afterwards. */
export async function withHub<T>(cli: Cli, command: Command, work: (hub: HubClient) => Promise<T>): Promise<T> {
  const hub = createHubClient(await findContext(cli, command), { signal: cli.signal })
  try {
    return await work(hub)
  } finally {
    hub.close()
  }
}

/** For options that may be repeated. */
export function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value]
}

/** For repeated `key=value` options. */
export function collectPairs(pair: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  const equals = pair.indexOf('=')
  if (equals < 1) throw new InvalidArgumentError('Write it as key=value.')
  return { ...previous, [pair.slice(0, equals)]: pair.slice(equals + 1) }
}

/** For options that are durations; the value is in ms. */
export function durationOption(text: string): number {
  try {
    return parseDuration(text)
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

/** What the hub must always send; throws Internal when it does not. */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new AppError('Internal', `the hub answered without ${what}`)
  return value
}
