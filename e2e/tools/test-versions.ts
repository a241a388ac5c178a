// `npm run test:versions [-- 1.32 ...]`: what depends on Kubernetes, on each version that users run. The servers of the
// older versions are built when they are first asked for here (three to four minutes a version), never by `npm test`.

import { run, TestRun } from './test-run.ts'
import { ensureTools, type KubernetesVersion, kubernetesTools, kubernetesVersions } from './tools.ts'

/** The agent against an API server, and the harness that plays the rest of a cluster. */
const integration = { projects: ['integration'], files: ['agent/', 'e2e/harness/', 'e2e/generators/'] }
/** The promises that rest on how an API server keeps and tells ownership. */
const scenarios = {
  projects: ['e2e'],
  files: ['one-commit', 'drift', 'nothing-is-written-twice', 'crashes', 'bad-manifests', 'names-and-moves'].map(
    (name) => `e2e/scenarios/${name}.test.ts`,
  ),
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((version) => !(kubernetesVersions as readonly string[]).includes(version))
if (unknown.length > 0) {
  console.error(`unknown version ${unknown.join(', ')}; they are ${kubernetesVersions.join(', ')}`)
  process.exit(2)
}
const versions = wanted.length > 0 ? (wanted as KubernetesVersion[]) : kubernetesVersions

const all = new TestRun()
await all.step('other servers', async () => {
  await ensureTools(['nats-server', 'etcd', 'kwok', 'helm', 'helm3'])
  return true
})
await all.step('build', () => run('turbo', ['run', 'build', '--continue', '--output-logs=errors-only']))
for (const version of versions) {
  const env = { FAIRLEAD_KUBERNETES: version }
  const haveServers = await all.step(`Kubernetes ${version}: servers`, () =>
    run('node', ['e2e/tools/build.ts', ...kubernetesTools], env),
  )
  if (!haveServers) continue
  await all.step(`Kubernetes ${version}: agent and harness`, () => all.runTests({ ...integration, env }))
  await all.step(`Kubernetes ${version}: scenarios`, () => all.runTests({ ...scenarios, env }))
}
all.finish()
