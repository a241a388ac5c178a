// A cluster that refuses for reasons of its own: what is refused is reported with its words and tried again, everything
// else goes on. Controllers run, so that quotas are counted and namespaces are emptied.
import type { AdmissionWebhookOptions } from '@fairlead/e2e/harness/admission-webhook'
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const limits = { transientBaseMs: 100, transientMaxMs: 400 }
const here = ClusterBed.forFile({ name: 'refusals', full: true, options: { limits } })

const ask = async (options: Partial<AdmissionWebhookOptions> = {}) =>
  await here.ask({ resources: ['serviceaccounts'], ...options })
const configMap = (name: string, space = here.namespace): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: space },
})
// Inventories are Secrets: what is refused here must be something else.
const account = (name: string): TestObject => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace: here.namespace },
})
const template = (name: string): TestObject => ({
  apiVersion: 'v1',
  kind: 'PodTemplate',
  metadata: { name, namespace: here.namespace },
  template: { spec: { containers: [{ name: 'c', image: 'nginx:1' }] } },
})
const refused = async (bed: ReconcilerBed, name: string, words: RegExp) =>
  await bed.reported('web', `refused: ${words}`, ({ problems }) =>
    problems.some(
      ({ code, object, message }) => code === 'ApplyRefused' && object?.name === name && words.test(message),
    ),
  )

test('a webhook that refuses: its words and the file are reported, the rest is applied, and its change of mind is noticed', async () => {
  const bed = await here.start()
  const webhook = await ask()
  webhook.review = ({ name }) => (name === 's' ? { allowed: false, message: 'no owner label' } : { allowed: true })
  bed.update({ web: { objects: [account('s'), account('t'), configMap('c')] } })
  const { problems } = await refused(bed, 's', /asked-.*\.example\.com/)
  expect(problems).toMatchObject([{ object: { kind: 'ServiceAccount' }, source: { file: 'deploy/web.yaml', line: 1 } }])
  await waitFor('the rest', async () => (await here.find(account('t'))) && (await here.find(configMap('c'))))
  webhook.review = () => ({ allowed: true })
  await bed.synced('web')
})

test('a webhook that is down: what it must be asked about waits, the rest is applied, and its return is noticed', async () => {
  const bed = await here.start()
  const webhook = await ask()
  await webhook.cut()
  bed.update({ web: { objects: [account('s'), configMap('c')] } })
  await refused(bed, 's', /webhook/)
  await waitFor('the rest', async () => await here.find(configMap('c')))
  await webhook.restore()
  await bed.synced('web')
  expect(await here.find(account('s'))).toBeDefined()
})

test('a webhook that does not answer for twenty objects holds up nothing else', async () => {
  const bed = await here.start()
  const webhook = await ask({ timeoutSeconds: 30 })
  webhook.hold()
  const slow = Array.from({ length: 20 }, (_, index) => account(`s${index}`))
  bed.update({ web: { objects: [...slow, configMap('c')] }, other: { objects: [configMap('o')] } })
  await waitFor('another application', async () => await here.find(configMap('o')))
  await waitFor('the other object', async () => await here.find(configMap('c')))
  // Not one after the other, nor eight at a time.
  await waitFor('all to be asked about at once', () => webhook.requests.length === slow.length, { timeoutMs: 20_000 })
  webhook.release()
  await bed.synced('web', { timeoutMs: 30_000 })
})

test('a sidecar and a label that a webhook injects are no drift, and start no fight', async () => {
  const bed = await here.start()
  const sidecar = { name: 'proxy', image: 'proxy:1' }
  await ask({
    type: 'mutating',
    resources: ['deployments'],
    review: ({ object }) => {
      const containers = (getField(object, 'spec.template.spec.containers') ?? []) as { name: string }[]
      if (containers.some(({ name }) => name === 'proxy')) return { allowed: true }
      const label = { op: 'add', path: '/metadata/labels/injected', value: 'yes' }
      return { allowed: true, patch: [label, { op: 'add', path: '/spec/template/spec/containers/-', value: sidecar }] }
    },
  })
  const deployment: TestObject = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd', namespace: here.namespace },
    spec: {
      selector: { matchLabels: { app: 'd' } },
      template: { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'c', image: 'nginx:1' }] } },
    },
  }
  bed.update({ web: { objects: [deployment] } })
  const report = await bed.synced('web', { healthy: true })
  expect(report).toMatchObject({ drifts: [], remediations: 0n, problems: [] })
  const found = await here.find(deployment)
  expect(getField(found, 'spec.template.spec.containers.1')).toMatchObject(sidecar)
  expect(found?.metadata.labels).toMatchObject({ injected: 'yes' })
  expect(found?.metadata.generation).toBe(1)
  const writes = bed.requests(writeVerbs).filter(({ name }) => name === 'd')
  expect(writes).toHaveLength(1)
})

test('a quota that refuses is reported, the rest is applied, and a larger one is noticed', async () => {
  const bed = await here.start()
  const quota = {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'q', namespace: here.namespace },
    spec: { hard: { 'count/podtemplates': '1' } },
  }
  await here.admin.create(quota)
  await waitFor('the quota to be counted', async () =>
    getField(await here.admin.get(quota), 'status.used', 'count/podtemplates'),
  )
  bed.update({ web: { objects: [template('s'), template('t'), configMap('c')] } })
  const { problems } = await bed.reported('web', 'refused', (report) => report.problems.length === 1)
  expect(problems[0]).toMatchObject({ code: 'ApplyRefused', source: { file: 'deploy/web.yaml' } })
  expect(problems[0]?.message).toMatch(
    /exceeded quota: q, requested: count\/podtemplates=1, used: count\/podtemplates=1/,
  )
  await waitFor('the rest', async () => await here.find(configMap('c')))
  await here.admin.patch(quota, { spec: { hard: { 'count/podtemplates': '5' } } }, { type: 'merge' })
  await bed.synced('web')
})

test('a namespace stuck in Terminating holds up only what is in it, and everything is made again when it is gone', {
  timeout: 90_000,
}, async () => {
  // The second try after a refusal would come after an hour: what ends the wait is that the namespace is back.
  const hour = 3_600_000
  const bed = await here.start({ limits: { transientBaseMs: hour, transientMaxMs: hour } })
  const space = `${here.namespace}-stuck`
  const stuck = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: space } }
  const objects = (value: string): TestObject[] => [
    stuck,
    configMap('a', space),
    { ...configMap('b'), data: { value } },
  ]
  bed.update({ web: { objects: objects('1') } })
  await bed.synced('web')
  const holder = {
    ...configMap('holder', space),
    metadata: { name: 'holder', namespace: space, finalizers: ['e.com/x'] },
  }
  await here.admin.create(holder)
  await here.admin.delete(stuck)
  await waitFor('a to be gone', async () => !(await here.find(configMap('a', space))))
  await refused(bed, 'a', /being terminated/)
  bed.update({ web: { objects: objects('2') } })
  await waitFor('what is elsewhere', async () => getField(await here.find(configMap('b')), 'data.value') === '2')
  await refused(bed, 'a', /being terminated/)
  await here.admin.patch(holder, { metadata: { finalizers: null } }, { type: 'merge' })
  await bed.synced('web', { timeoutMs: 30_000 })
  expect(await here.find(configMap('a', space))).toBeDefined()
})
