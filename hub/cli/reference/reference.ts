// The pages of docs/reference/ that are made from the source.
import path from 'node:path'
import type { Cli } from '../cli.ts'
import { createOutput } from '../output/output.ts'
import { createProgram } from '../program.ts'
import { renderCliReference } from './cli-reference.ts'
import { renderDefinitionsReference } from './definitions-reference.ts'

const root = path.join(import.meta.dirname, '..', '..', '..')

/** Each page with its absolute path. */
export async function renderPages(): Promise<[file: string, text: string][]> {
  const page = (name: string): string => path.join(root, 'docs', 'reference', name)
  return [
    [page('cli.md'), renderCliReference(createProgram(describingCli()))],
    [page('definitions.md'), await renderDefinitionsReference(path.join(root, 'proto', 'fairlead', 'v1'))],
  ]
}

/** A run in which no command is ever run. */
function describingCli(): Cli {
  return {
    output: createOutput({ stdout: process.stdout, stderr: process.stderr, noColour: true }),
    environment: { configPath: '', context: undefined, noColour: true, variables: {} },
    stdin: process.stdin,
    signal: new AbortController().signal,
    exitCode: 0,
  }
}
