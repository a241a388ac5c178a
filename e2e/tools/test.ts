// `npm test`: everything that can be checked, each step named and timed. The last line is `N passed, N failed`.
// Every step counts as one check, every test as one more; nothing that was skipped is left unsaid.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ensureTools, toolNames } from './tools.ts'

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

const steps: Step[] = []
const tests: Counts = { passed: 0, failed: 0, skipped: 0 }
const remarks: string[] = []

/** Runs one step; one that throws or answers false has failed, and the next is tried all the same. */
async function step(name: string, work: () => Promise<boolean>): Promise<boolean> {
  console.log(`\n== ${name}`)
  const startedAt = performance.now()
  const succeeded = await work().catch((error) => {
    console.log(error instanceof Error ? error.message : error)
    return false
  })
  const seconds = (performance.now() - startedAt) / 1000
  console.log(`== ${name}: ${succeeded ? 'ok' : 'FAILED'} (${seconds.toFixed(1)} s)`)
  steps.push({ name, succeeded, seconds })
  return succeeded
}

/** Runs a command of node_modules/.bin or npm with the output passed on; true when it exits with 0. */
function run(command: string, ...args: readonly string[]): Promise<boolean> {
  const bin = path.join(root, 'node_modules', '.bin')
  const env = {
    ...process.env,
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

/** Runs vitest and counts its tests. The step itself fails only for what is not the failure of a test. */
async function runTests(projects: readonly string[]): Promise<boolean> {
  const folder = mkdtempSync(path.join(tmpdir(), 'fairlead-test-'))
  const file = path.join(folder, 'report.json')
  try {
    const selected = projects.flatMap((project) => ['--project', project])
    const args = ['run', ...selected, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
    const succeeded = await run('vitest', ...args)
    const brokenFiles = countTests(JSON.parse(readFileSync(file, 'utf8')) as TestReport)
    const total = tests.passed + tests.failed + tests.skipped
    if (total === 0) remarks.push('no test was run')
    if (!succeeded && tests.failed === 0 && brokenFiles === 0)
      remarks.push('vitest failed, though no test did: see above')
    return total > 0 && brokenFiles === 0 && (succeeded || tests.failed > 0)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Adds a report to the counts; the number of files that failed before or outside their tests. */
function countTests({ testResults }: TestReport): number {
  let brokenFiles = 0
  for (const { name, status, assertionResults } of testResults) {
    const file = path.relative(root, name)
    for (const test of assertionResults) {
      if (test.status === 'passed') tests.passed++
      else if (test.status === 'failed') tests.failed++
      else tests.skipped++
      if (test.status !== 'passed') remarks.push(`${test.status}: ${file}: ${test.fullName}`)
    }
    if (status === 'failed' && !assertionResults.some((test) => test.status === 'failed')) {
      brokenFiles++
      remarks.push(`failed: ${file}: the file itself, see above`)
    }
  }
  return brokenFiles
}

const startedAt = performance.now()
const haveTools = await step('test servers', async () => {
  for (const [name, file] of Object.entries(await ensureTools(toolNames))) console.log(`${name}: ${file}`)
  return true
})
await step('build', () => run('turbo', 'run', 'build', '--continue', '--output-logs=errors-only'))
await step('types', () => run('turbo', 'run', 'typecheck', '--continue', '--output-logs=errors-only'))
await step('lint', () => run('npm', 'run', '-s', 'lint'))
if (!haveTools) remarks.push('without the test servers, only the unit tests were run')
await step('tests', () => runTests(haveTools ? ['unit', 'integration', 'e2e'] : ['unit']))

console.log('\n== summary')
for (const { name, succeeded, seconds } of steps) {
  console.log(`${succeeded ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`)
}
for (const remark of remarks) console.log(remark)
console.log(`all in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`)
const passed = steps.filter(({ succeeded }) => succeeded).length + tests.passed
const failed = steps.filter(({ succeeded }) => !succeeded).length + tests.failed
process.exitCode = failed > 0 || tests.passed === 0 ? 1 : 0
console.log(`${passed} passed, ${failed} failed${tests.skipped > 0 ? `, ${tests.skipped} skipped` : ''}`)
