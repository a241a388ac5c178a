// `npm test`: everything that can be checked, on the newest Kubernetes; see test-run.ts for what is printed.

import { run, TestRun } from './test-run.ts'
import { ensureTools, toolNames } from './tools.ts'

const all = new TestRun()
const haveTools = await all.step('test servers', async () => {
  for (const [name, file] of Object.entries(await ensureTools(toolNames))) console.log(`${name}: ${file}`)
  return true
})
await all.step('rendering engine', () => run('node', ['e2e/tools/build-engine.ts']))
await all.step('build', () => run('turbo', ['run', 'build', '--continue', '--output-logs=errors-only']))
await all.step('types', () => run('turbo', ['run', 'typecheck', '--continue', '--output-logs=errors-only']))
await all.step('lint', () => run('npm', ['run', '-s', 'lint']))
if (!haveTools) all.remark('without the test servers, only the unit tests were run')
await all.step('tests', () => all.runTests({ projects: haveTools ? ['unit', 'integration', 'e2e'] : ['unit'] }))
all.finish()
