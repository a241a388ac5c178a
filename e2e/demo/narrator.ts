// What the person at the terminal sees: each step's title, the command a user would type, what was seen, and how long it took.
import { styleText } from 'node:util'

/** Writes the demo's story to standard output and counts what did not happen. */
export class Narrator {
  #steps = 0
  readonly #startedAt = performance.now()

  /** A line of explanation. */
  say(text: string): void {
    console.log(text)
  }

  /** A command as a user would type it. */
  command(text: string): void {
    console.log(`  ${style('cyan', `$ ${text}`)}`)
  }

  /** What a command printed, indented. */
  output(text: string): void {
    for (const line of text.trimEnd().split('\n')) console.log(`    ${line}`)
  }

  /** Something that was seen to be so. */
  seen(text: string): void {
    console.log(`  ${style('green', '✓')} ${text}`)
  }

  /** Runs one step under its title. A step that throws ends the demo: what it promised did not happen. */
  async step<T>(title: string, run: () => Promise<T>): Promise<T> {
    this.#steps++
    console.log(`\n${style('bold', `${this.#steps}. ${title}`)}`)
    try {
      return await run()
    } catch (error) {
      console.log(`  ${style('red', '✗')} did not happen: ${error instanceof Error ? error.message : String(error)}`)
      throw error
    }
  }

  /** How many steps there were, and how long all of them took. */
  summary(): string {
    return `${this.#steps} steps in ${((performance.now() - this.#startedAt) / 1000).toFixed(0)} s`
  }
}

/** Milliseconds in words: `42 ms`, `3.1 s`. */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`
}

function style(format: 'bold' | 'cyan' | 'green' | 'red', text: string): string {
  return styleText(format, text, { stream: process.stdout })
}
