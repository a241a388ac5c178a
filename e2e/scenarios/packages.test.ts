// What comes packed reaches a real cluster as what comes from Git does: an OCI artifact, charts of a registry and of a Helm
// repository, value files from a repository beside them, and what a chart in Git depends on.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { makeRunFolder } from '../harness/guardian.ts'
import { getField } from '../harness/kube-client.ts'
import { type PackageFiles, type RegistryServer, startRegistry } from '../harness/registry.ts'
import { waitFor } from '../harness/wait.ts'
import { run } from '../tools/go-build.ts'
import { ensureTools } from '../tools/tools.ts'
import { problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, namespace, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let registry: RegistryServer
let config: GitRepository
let shop: GitRepository

const ARTIFACT = 'acme/settings'
const chart = (name: string, version: string): PackageFiles => ({
  'Chart.yaml': `apiVersion: v2\nname: ${name}\nversion: ${version}\n`,
  'values.yaml': 'size: small\n',
  'templates/a.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}
data: {version: "{{ .Chart.Version }}", size: {{ .Values.size }}}
`,
  'templates/namespace.yaml':
    '{{ if eq .Release.Name .Chart.Name }}{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"{{ .Release.Namespace }}"}}{{ end }}\n',
})
const settings = (level: string): PackageFiles => ({
  'namespace.yaml': namespace('settings'),
  'settings.yaml': configMap('settings', { level }),
})

const dataOf = async (name: string, space: string) =>
  getField(await fleet.getCluster('eu').cluster.admin.get(configMapReference(name, space)), 'data')
const runAt = async (application: string, commit: string) =>
  await fleet.waitForStatus(`${application} to run ${commit}`, (status) => runs(status, application, 'eu', commit), {
    timeoutMs: 60_000,
  })

/** A chart of the repository shop with a dependency, locked by `helm dependency update`. */
async function commitChartWith(dependency: string): Promise<string> {
  const { helm } = await ensureTools(['helm'])
  const folder = makeRunFolder('locked')
  const files: Record<string, string> = {
    'Chart.yaml': `apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n- ${dependency}\n`,
    'templates/namespace.yaml': namespace('web'),
  }
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.join(folder, path.dirname(name)), { recursive: true })
    writeFileSync(path.join(folder, name), text)
  }
  const { status, output } = await run(helm, ['dependency', 'update', folder, '--plain-http'], {
    env: { HOME: folder },
  })
  if (status !== 0) throw new Error(`helm dependency update: ${output}`)
  const lock = readFileSync(path.join(folder, 'Chart.lock'), 'utf8')
  const entries = Object.entries({ ...files, 'Chart.lock': lock }).map(([name, text]) => [`charts/web/${name}`, text])
  return shop.commit(Object.fromEntries(entries))
}

beforeAll(async () => {
  registry = await startRegistry()
  fleet = await startFleet()
  config = fleet.git.createRepository('config')
  shop = fleet.git.createRepository('shop')
  await fleet.addCluster('eu')
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
  await registry?.stop()
})

test('an artifact and charts run on a cluster, and every new version reaches it', async () => {
  config.commit({ 'cache/eu.yaml': 'size: medium\n' })
  const artifact = await registry.publish(ARTIFACT, 'main', settings('info'))
  const cache = await registry.pushChart('acme/charts', chart('cache', '1.0.0'))
  const queue = await registry.addChart(chart('queue', '0.9.0'))
  const valuesFrom = [{ repository: 'config', ref: 'main', path: 'cache/eu.yaml' }]
  await fleet.apply(
    repositoryDefinition('config', config.url) +
      repositoryDefinition('settings', registry.urlOf(ARTIFACT)) +
      repositoryDefinition('registry', registry.urlOf('acme/charts'), { helm: {} }) +
      repositoryDefinition('stable', registry.chartsUrl, { helm: {} }) +
      applicationDefinition('settings', { repository: 'settings', path: '' }) +
      applicationDefinition('cache', {
        repository: 'registry',
        chart: 'cache',
        ref: 'semver:^1',
        render: { helm: { valuesFrom } },
      }) +
      applicationDefinition('queue', { repository: 'stable', chart: 'queue', ref: '' }),
  )
  await runAt('settings', artifact)
  await runAt('cache', cache)
  await runAt('queue', queue)
  expect(await dataOf('settings', 'settings')).toEqual({ level: 'info' })
  expect(await dataOf('cache-cache', 'cache')).toEqual({ version: '1.0.0', size: 'medium' })
  expect(await dataOf('queue-queue', 'queue')).toEqual({ version: '0.9.0', size: 'small' })
  await runAt('settings', await registry.publish(ARTIFACT, 'main', settings('debug')))
  await registry.pushChart('acme/charts', chart('cache', '2.0.0'))
  await runAt('cache', await registry.pushChart('acme/charts', chart('cache', '1.1.0')))
  await runAt('queue', await registry.addChart(chart('queue', '0.10.0')))
  expect(await dataOf('settings', 'settings')).toEqual({ level: 'debug' })
  expect(await dataOf('cache-cache', 'cache')).toEqual({ version: '1.1.0', size: 'medium' })
  expect(await dataOf('queue-queue', 'queue')).toEqual({ version: '0.10.0', size: 'small' })
})

test('a value file of another repository updates the chart, and one that is gone stops at the last good state', async () => {
  config.commit({ 'cache/eu.yaml': 'size: large\n' })
  await waitFor(
    'the new value',
    async () => {
      const data = (await dataOf('cache-cache', 'cache')) as { size?: string }
      return data.size === 'large'
    },
    { timeoutMs: 60_000 },
  )
  config.commit({ 'cache/eu.yaml': undefined, 'README.md': 'gone' })
  await fleet.waitForStatus('the missing file to be told', (status) =>
    problemsOf(status, 'cache').some(({ message }) => message.includes('value file is not in the repository')),
  )
  expect(await dataOf('cache-cache', 'cache')).toEqual({ version: '1.1.0', size: 'large' })
  config.commit({ 'cache/eu.yaml': 'size: large\n' })
  await fleet.waitForStatus('the problem to be gone', (status) => problemsOf(status, 'cache').length === 0)
})

test('going back is naming the older version or its digest', async () => {
  const first = await registry.publish(ARTIFACT, 'v1', settings('warn'))
  await registry.publish(ARTIFACT, 'v2', settings('error'))
  await fleet.apply(applicationDefinition('settings', { repository: 'settings', path: '', ref: 'v2' }))
  await fleet.apply(applicationDefinition('settings', { repository: 'settings', path: '', ref: `v1@sha256:${first}` }))
  await runAt('settings', first)
  expect(await dataOf('settings', 'settings')).toEqual({ level: 'warn' })
})

test('what a chart in Git depends on is fetched from a declared repository, in the version of its lock', async () => {
  await registry.addChart(chart('db', '1.2.0'))
  const commit = await commitChartWith(`{name: db, version: ^1.0.0, repository: "${registry.chartsUrl}"}`)
  await registry.addChart(chart('db', '1.3.0'))
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('web', {
        repository: 'shop',
        path: 'charts/web',
        render: { helm: { values: { db: { size: 'huge' } } } },
      }),
  )
  await runAt('web', commit)
  expect(await dataOf('web-db', 'web')).toEqual({ version: '1.2.0', size: 'huge' })
})

test('a dependency from an address that nobody declared is not asked for, and says so until somebody does', async () => {
  const asked = registry.requests.length
  await registry.pushChart('undeclared/charts', chart('search', '3.0.0'))
  const address = `oci://${registry.behind}/undeclared/charts`
  const lines = `name: search, version: 3.0.0, repository: "${address}"`
  const commit = await commitChartWith(`{${lines}}`)
  await fleet.waitForStatus('the dependency to be told', (status) =>
    problemsOf(status, 'web').some(
      ({ code, message }) => code === 'DependencyUnavailable' && message.includes('no Repository with helm'),
    ),
  )
  expect(registry.requests.slice(asked).some((request) => request.includes('undeclared'))).toBe(false)
  expect(await dataOf('web-db', 'web')).toEqual({ version: '1.2.0', size: 'huge' })
  await fleet.apply(repositoryDefinition('more', `oci+http://${registry.behind}/undeclared/charts`, { helm: {} }))
  await runAt('web', commit)
  expect(await dataOf('web-search', 'web')).toEqual({ version: '3.0.0', size: 'small' })
})
