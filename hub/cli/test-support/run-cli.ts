// For tests: runs command lines in this process and keeps what they wrote.
import { mkdtempSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import { dump } from 'js-yaml'
import type { Cli } from '../cli.ts'
import { readEnvironment } from '../config.ts'
import { createOutput } from '../output/output.ts'
import { runCommandLine } from '../program.ts'
import type { TestHub } from './test-hub.ts'

/** What a command line did. */
export interface CliResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** How to run it. */
export interface RunOptions {
  /** The context file; a path that does not exist when absent. */
  readonly config?: string
  readonly stdin?: string
  readonly signal?: AbortSignal
  /** Called with all of standard output after each write. */
  readonly onOutput?: (stdout: string) => void
  readonly terminal?: boolean
}

/** Runs one command line. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<CliResult> {
  const written = { stdout: '', stderr: '' }
  const collect = (name: 'stdout' | 'stderr') =>
    new Writable({
      decodeStrings: false,
      write(chunk: string, _encoding, done) {
        written[name] += chunk
        if (name === 'stdout') options.onOutput?.(written.stdout)
        done()
      },
    })
  const stdout = Object.assign(collect('stdout'), { isTTY: options.terminal === true, columns: 100, rows: 30 })
  const cli: Cli = {
    output: createOutput({ stdout, stderr: collect('stderr'), noColour: false }),
    environment: readEnvironment({ FAIRLEAD_CONFIG: options.config ?? '/nonexistent/fairlead.yaml' }),
    stdin: Readable.from([options.stdin ?? '']),
    signal: options.signal ?? new AbortController().signal,
    exitCode: 0,
  }
  const code = await runCommandLine(args, cli)
  return { code, ...written }
}

/** Writes a context file for a hub into a folder that the test removes, and returns its path. */
export function writeTestContext(hub: Pick<TestHub, 'address' | 'caPem' | 'token'>, folder: string): string {
  const { address, caPem, token } = hub
  const file = path.join(mkdtempSync(path.join(folder, 'context-')), 'config.yaml')
  writeFileSync(file, dump({ currentContext: 'test', contexts: [{ name: 'test', address, caPem, token }] }), {
    mode: 0o600,
  })
  return file
}
