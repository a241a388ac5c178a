#!/usr/bin/env node
// The entry of `fairlead`: node hub/cli/main.ts from source, dist/fairlead.js as shipped.
import { logVerbosity, setLogVerbosity } from '@grpc/grpc-js'
import type { Cli } from './cli.ts'
import { readEnvironment } from './config.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { createOutput } from './output/output.ts'
import { runCommandLine } from './program.ts'

const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second one means: at once.
    if (stopping.signal.aborted) process.exit(EXIT_CODES.interrupted.code)
    stopping.abort()
  })
}
// `fairlead status | head` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

// grpc-js would write failures to standard error, which are told there already as errors.
setLogVerbosity(logVerbosity.NONE)

const environment = readEnvironment()
const cli: Cli = {
  output: createOutput({ stdout: process.stdout, stderr: process.stderr, noColour: environment.noColour }),
  environment,
  stdin: process.stdin,
  signal: stopping.signal,
  exitCode: EXIT_CODES.ok.code,
}
const code = await runCommandLine(process.argv.slice(2), cli)
// Whatever a library still holds open does not keep a finished command alive.
await cli.output.flush()
process.exit(code)
