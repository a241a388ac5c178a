// One run of many checks: each step named and timed, every test counted, nothing that was skipped left unsaid.
// The last line of a run is `N passed, N failed`: every step counts as one check, every test as one more.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')

type Counts = { passed: number; failed: number; skipped: number }

type Step = {
  readonly name: string
  readonly succeeded: boolean
  readonly seconds: number
}

type TestReport = {
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[]
  }[]
}

/** What vitest is to run. */
export type TestSelection = {
  readonly projects: readonly string[]
  /** Parts of the paths of the files, default all. */
  readonly files?: readonly string[]
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** Collects what a run has come to. */
export class TestRun {
  readonly #startedAt = performance.now()
  readonly #steps: Step[] = []
  readonly #tests: Counts = { passed: 0, failed: 0, skipped: 0 }
  readonly #remarks: string[] = []

  /** Runs one step; one that throws or answers false has failed, and the next is tried all the same. */
  async step(name: string, work: () => Promise<boolean>): Promise<boolean> {
    console.log(`\n== ${name}`)
    const startedAt = performance.now()
    const succeeded = await work().catch((error) => {
      console.log(error instanceof Error ? error.message : error)
      return false
    })
    const seconds = (performance.now() - startedAt) / 1000
    console.log(`== ${name}: ${succeeded ? 'ok' : 'FAILED'} (${seconds.toFixed(1)} s)`)
    this.#steps.push({ name, succeeded, seconds })
    return succeeded
  }

  /** Something to be said in the summary. */
  remark(text: string): void {
    this.#remarks.push(text)
  }

  /** Runs vitest and counts its tests. False only for what is not the failure of a test. */
  async runTests({ projects, files = [], env = {} }: TestSelection): Promise<boolean> {
    const folder = mkdtempSync(path.join(tmpdir(), 'fairlead-test-'))
    const file = path.join(folder, 'report.json')
    try {
      const selected = projects.flatMap((project) => ['--project', project])
      const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
      const succeeded = await run('vitest', ['run', ...selected, ...reporters, ...files], env)
      const { counts, brokenFiles } = this.#count(JSON.parse(readFileSync(file, 'utf8')) as TestReport)
      const total = counts.passed + counts.failed + counts.skipped
      console.log(`tests: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
      if (total === 0) this.remark('no test was run')
      if (!succeeded && counts.failed === 0 && brokenFiles === 0)
        this.remark('vitest failed, though no test did: see above')
      return total > 0 && brokenFiles === 0 && (succeeded || counts.failed > 0)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  /** Prints the summary, whose last line holds the counts, and sets the exit code of the process. */
  finish(): void {
    console.log('\n== summary')
    for (const { name, succeeded, seconds } of this.#steps) {
      console.log(`${succeeded ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`)
    }
    for (const remark of this.#remarks) console.log(remark)
    console.log(`all in ${((performance.now() - this.#startedAt) / 1000).toFixed(0)} s`)
    const passed = this.#steps.filter(({ succeeded }) => succeeded).length + this.#tests.passed
    const failed = this.#steps.filter(({ succeeded }) => !succeeded).length + this.#tests.failed
    const { skipped } = this.#tests
    process.exitCode = failed > 0 || this.#tests.passed === 0 ? 1 : 0
    console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  }

  /** Adds a report to the counts; broken are the files that failed before or outside their tests. */
  #count({ testResults }: TestReport): { counts: Counts; brokenFiles: number } {
    const counts: Counts = { passed: 0, failed: 0, skipped: 0 }
    let brokenFiles = 0
    for (const { name, status, assertionResults } of testResults) {
      const file = path.relative(root, name)
      for (const test of assertionResults) {
        if (test.status === 'passed') counts.passed++
        else if (test.status === 'failed') counts.failed++
        else counts.skipped++
        if (test.status !== 'passed') this.remark(`${test.status}: ${file}: ${test.fullName}`)
      }
      if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) {
        brokenFiles++
        this.remark(`failed: ${file}: the file itself, see above`)
      }
    }
    this.#tests.passed += counts.passed
    this.#tests.failed += counts.failed
    this.#tests.skipped += counts.skipped
    return { counts, brokenFiles }
  }
}

/** Runs a command of node_modules/.bin or npm with the output passed on; true when it exits with 0. */
export function run(
  command: string,
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<boolean> {
  const bin = path.join(root, 'node_modules', '.bin')
  const env = {
    ...process.env,
    ...more,
    PATH: `${bin}${path.delimiter}${process.env.PATH}`,
    TURBO_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
  }
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', (error) => {
      console.log(`${command}: ${error.message}`)
      resolve(false)
    })
    child.on('close', (code) => resolve(code === 0))
  })
}
