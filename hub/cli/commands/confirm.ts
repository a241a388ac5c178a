// Asks a person before something that cannot be taken back.
import { createInterface } from 'node:readline/promises'
import type { Cli } from '../cli.ts'

/** True when a person at the terminal says yes; false for any other answer, and where there is no terminal to ask at. Ctrl-C rejects. */
export async function confirm(cli: Cli, question: string): Promise<boolean> {
  const input = cli.stdin as NodeJS.ReadableStream & { isTTY?: boolean }
  if (input.isTTY !== true) return false
  const reader = createInterface({ input, output: cli.output.forQuestions, terminal: false })
  try {
    return /^y(es)?$/i.test((await reader.question(`${question} [y/N] `, { signal: cli.signal })).trim())
  } finally {
    reader.close()
  }
}
