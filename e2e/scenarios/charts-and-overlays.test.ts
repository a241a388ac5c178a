// A chart and a Kustomize overlay in Git reach a real cluster through the hub that is shipped; what they refer to elsewhere in
// the repository updates them.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeReference } from '../harness/kube-client.ts'
import { describeProblem, problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, deployment, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

const chart = {
  'charts/web/Chart.yaml':
    'apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: cache, version: 1.0.0, condition: cache.enabled}]\n',
  'charts/web/values.yaml': 'replicas: 1\ntag: "1.0"\n',
  'charts/web/crds/things.yaml': JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', singular: 'thing', kind: 'Thing' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  }),
  'charts/web/templates/namespace.yaml':
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: {{ .Release.Namespace }}}\n',
  'charts/web/templates/web.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "shop/web:{{ .Values.tag }}"}]}
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: one}
`,
  'charts/web/templates/migrate.yaml': `apiVersion: v1
kind: ServiceAccount
metadata: {name: migrate, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, serviceAccountName: migrate, containers: [{name: a, image: "job:1"}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: tested, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: a, image: b}]}
`,
  'charts/web/charts/cache/Chart.yaml': 'apiVersion: v2\nname: cache\nversion: 1.0.0\n',
  'charts/web/charts/cache/templates/cache.yaml':
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-cache}\ndata: {region: {{ .Values.global.region }}}\n',
  'values/eu.yaml': 'global: {region: eu}\ntag: "1.1"\n',
}

const overlay = {
  'apps/base/kustomization.yaml': 'resources: [tax.yaml]\n',
  'apps/base/tax.yaml': deployment('tax', 'shop/tax:1.0'),
  'apps/tax/kustomization.yaml': `resources: [../base, namespace.yaml]
namespace: tax
namePrefix: eu-
images: [{name: shop/tax, newTag: "1.1"}]
configMapGenerator: [{name: settings, literals: [a=1], options: {disableNameSuffixHash: true}}]
`,
  'apps/tax/namespace.yaml': '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"tax"}}\n',
}

const admin = () => fleet.getCluster('eu').cluster.admin
const workload = (name: string, namespace: string): KubeReference => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
})
const IMAGE = 'spec.template.spec.containers.0.image'
const allRun = async (what: string, commit: string) =>
  await fleet.waitForStatus(what, (status) => ['web', 'tax'].every((name) => runs(status, name, 'eu', commit)), {
    timeoutMs: 60_000,
  })

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({ ...chart, ...overlay })
  await fleet.addCluster('eu', { full: true })
}, 300_000)
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

test('a chart and an overlay in Git reach a cluster, with their hooks, definitions and subcharts', async () => {
  const helm = { valueFiles: ['../../values/eu.yaml'], values: { replicas: 2 } }
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('web', { repository: 'shop', path: 'charts/web', render: { helm } }) +
      applicationDefinition('tax', { repository: 'shop', path: 'apps/tax' }),
  )
  await allRun('both to run', shop.head())
  const web = await admin().get(workload('web', 'web'))
  expect(getField(web, IMAGE)).toBe('shop/web:1.1')
  expect(getField(web, 'status.readyReplicas')).toBe(2)
  expect(getField(await admin().get(configMapReference('web-cache', 'web')), 'data.region')).toBe('eu')
  expect(
    await admin().find({ apiVersion: 'example.com/v1', kind: 'Thing', metadata: { name: 'one', namespace: 'web' } }),
  ).toBeDefined()
  const migrate = await admin().get({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'migrate', namespace: 'web' },
  })
  expect(getField(migrate, 'status.succeeded')).toBe(1)
  expect(
    await admin().find({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'tested', namespace: 'web' } }),
  ).toBeUndefined()
  const tax = await admin().get(workload('eu-tax', 'tax'))
  expect(getField(tax, IMAGE)).toBe('shop/tax:1.1')
  expect(getField(await admin().get(configMapReference('eu-settings', 'tax')), 'data.a')).toBe('1')
})

test('a value file beside the chart, and a base beside the overlay, update what refers to them', async () => {
  shop.commit({
    'values/eu.yaml': 'global: {region: eu-2}\ntag: "1.2"\n',
    'apps/base/tax.yaml': deployment('tax', 'shop/tax:1.0', { replicas: 3 }),
  })
  await allRun('the new values', shop.head())
  expect(getField(await admin().get(workload('web', 'web')), IMAGE)).toBe('shop/web:1.2')
  expect(getField(await admin().get(configMapReference('web-cache', 'web')), 'data.region')).toBe('eu-2')
  expect(getField(await admin().get(workload('eu-tax', 'tax')), 'spec.replicas')).toBe(3)
})

test('a template that fails is told with its file and line, and what ran before stays', async () => {
  const before = await admin().get(workload('web', 'web'))
  shop.commit({ 'charts/web/templates/bad.yaml': `\n{{ fail "no such luck" }}\n${configMap('bad', {})}` })
  const status = await fleet.waitForStatus('the problem', (seen) => problemsOf(seen, 'web').length > 0)
  const [problem] = problemsOf(status, 'web')
  expect(problem && describeProblem(problem)).toBe('RenderFailed charts/web/templates/bad.yaml')
  expect(problem).toMatchObject({ message: expect.stringContaining('no such luck'), source: { line: 2 } })
  expect((await admin().get(workload('web', 'web'))).metadata.resourceVersion).toBe(before.metadata.resourceVersion)
})

test('an overlay has its base in another repository, at a commit, once that repository gives bases', async () => {
  const platform = fleet.git.createRepository('platform')
  const base = (level: string) => ({
    'bases/agent/kustomization.yaml': 'resources: [../common]\nnamePrefix: platform-\n',
    'bases/common/kustomization.yaml': 'resources: [settings.yaml]\n',
    'bases/common/settings.yaml': configMap('settings', { level }),
  })
  const old = platform.commit(base('info'))
  platform.commit(base('debug'))
  const head = shop.commit({
    'apps/agent/kustomization.yaml': `resources:\n- ${platform.url}//bases/agent?ref=${old}\n`,
    'charts/web/templates/bad.yaml': undefined,
  })
  const agent = applicationDefinition('agent', { repository: 'shop', path: 'apps/agent', namespace: 'web' })
  await fleet.apply(repositoryDefinition('platform', platform.url) + agent)
  const told = async (words: string) =>
    await fleet.waitForStatus(words, (status) =>
      problemsOf(status, 'agent').some(
        ({ code, message }) => code === 'DependencyUnavailable' && message.includes(words),
      ),
    )
  await told('gives Repository/shop no bases')
  await fleet.apply(repositoryDefinition('platform', platform.url, { bases: { repositories: ['other'] } }))
  await told('gives Repository/shop no bases')
  await fleet.apply(repositoryDefinition('platform', platform.url, { bases: { repositories: ['shop'] } }))
  await fleet.waitForStatus('the overlay to run', (status) => runs(status, 'agent', 'eu', head), { timeoutMs: 60_000 })
  const settings = configMapReference('platform-settings', 'web')
  expect(getField(await admin().get(settings), 'data.level')).toBe('info')
  const newer = shop.commit({
    'apps/agent/kustomization.yaml': `resources:\n- ${platform.url}//bases/agent?ref=${platform.head()}\n`,
  })
  await fleet.waitForStatus('the newer base', (status) => runs(status, 'agent', 'eu', newer), { timeoutMs: 60_000 })
  expect(getField(await admin().get(settings), 'data.level')).toBe('debug')
})
