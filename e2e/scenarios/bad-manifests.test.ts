// What is wrong with a manifest is told with the object, the file and the reason, and holds up nothing else.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject, type KubeReference } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { describeProblem, problemsOf, runs } from './fleet-status.ts'
import {
  applicationDefinition,
  configMap,
  configMapReference,
  deployment,
  job,
  repositoryDefinition,
  service,
} from './manifests.ts'

let fleet: Fleet
let shop: GitRepository

const namespace = 'default'

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  shop.commit({
    'web/good.yaml': configMap('web-good', { version: '1' }),
    'web/other.yaml': configMap('web-other', { version: '1' }),
    'tax/good.yaml': configMap('tax', { version: '1' }),
  })
  await fleet.addCluster('wide', { labels: { scope: 'wide' } })
  await fleet.addCluster('narrow', { labels: { scope: 'narrow' }, namespaces: ['team'] })
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('web', { repository: 'shop', namespace, matchLabels: { scope: 'wide' } }) +
      applicationDefinition('tax', { repository: 'shop', namespace, matchLabels: { scope: 'wide' } }),
  )
  await waitUntilRunning(shop.head())
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const wide = () => fleet.getCluster('wide').cluster.admin

async function waitUntilRunning(commit: string): Promise<void> {
  await fleet.waitForStatus('web and tax to run', (status) =>
    ['web', 'tax'].every((application) => runs(status, application, 'wide', commit)),
  )
}

async function waitForData(name: string, version: string): Promise<KubeObject> {
  return await waitFor(
    `ConfigMap ${name} to be at version ${version}`,
    async () => {
      const live = await wide().find(configMapReference(name))
      return getField(live, 'data.version') === version && live
    },
    { timeoutMs: 30_000, logs: [fleet.hub, fleet.getCluster('wide').kubelet] },
  )
}

/** Waits until the status tells all of these of an application, and returns the problems' messages by their descriptions. */
async function waitForProblems(application: string, ...wanted: readonly string[]): Promise<Map<string, string>> {
  const status = await fleet.waitForStatus(`${application} to have the problems ${wanted.join(', ')}`, (state) => {
    const told = problemsOf(state, application).map(describeProblem)
    return wanted.every((one) => told.includes(one))
  })
  return new Map(problemsOf(status, application).map((problem) => [describeProblem(problem), problem.message]))
}

/** What `fairlead status` prints for people. */
async function readText(): Promise<string> {
  return await fleet.cli('status')
}

describe('a file that is no YAML', () => {
  test('is told with its line; the rest of the application, and other applications, follow the commit', async () => {
    shop.commit({
      'web/good.yaml': configMap('web-good', { version: '2' }),
      'web/other.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-other\ndata: [\n',
      'tax/good.yaml': configMap('tax', { version: '2' }),
    })
    await waitForProblems('web', 'InvalidYaml web/other.yaml')
    await waitForData('web-good', '2')
    await waitForData('tax', '2')
    expect(await readText()).toMatch(/^ {2}web: \(web\/other\.yaml:\d+\): InvalidYaml: /m)
  })

  test('deletes nothing of what it held before', async () => {
    expect(getField(await wide().get(configMapReference('web-other')), 'data.version')).toBe('1')
  })

  test('is forgotten when it is mended', async () => {
    const commit = shop.commit({ 'web/other.yaml': configMap('web-other', { version: '3' }) })
    await waitForData('web-other', '3')
    await waitUntilRunning(commit)
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'web').length === 0)
  })
})

describe('a document that is no Kubernetes object', () => {
  test('is told with its line and what it lacks; the rest is applied', async () => {
    shop.commit({
      'web/good.yaml': configMap('web-good', { version: '4' }),
      'web/nameless.yaml': '# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n',
    })
    const problems = await waitForProblems('web', 'InvalidManifest ConfigMap web/nameless.yaml')
    expect([...problems.values()].join()).toContain('metadata.name')
    await waitForData('web-good', '4')
    shop.remove('web/nameless.yaml')
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'web').length === 0)
  })
})

describe('an object that the API server refuses', () => {
  const broken: KubeReference[] = [
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'typo', namespace } },
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 'port', namespace } },
  ]

  test('for an invalid field or value is told with the file and the reason; the rest is applied', async () => {
    shop.commit({
      'web/good.yaml': configMap('web-good', { version: '5' }),
      'web/typo.yaml': deployment('typo', 'web:1').replace('"replicas"', '"replicsa"'),
      'web/port.yaml': service('port', 99_999),
      'tax/good.yaml': configMap('tax', { version: '5' }),
    })
    const problems = await waitForProblems(
      'web',
      `ApplyInvalid Deployment.apps ${namespace}/typo web/typo.yaml`,
      `ApplyInvalid Service ${namespace}/port web/port.yaml`,
    )
    const messages = [...problems.values()].join('\n')
    expect(messages).toContain('replicsa')
    expect(messages).toMatch(/65535/)
    await waitForData('web-good', '5')
    await waitForData('tax', '5')
    for (const reference of broken) expect(await wide().find(reference)).toBeUndefined()
    const text = await readText()
    expect(text).toMatch(/web on wide: Deployment\.apps default\/typo \(web\/typo\.yaml:1\): ApplyInvalid: .*replicsa/)
    expect(text).toMatch(/web on wide: Service default\/port \(web\/port\.yaml:1\): ApplyInvalid: .*65535/)
  })

  test('is applied, and its problem forgotten, when it is mended', async () => {
    const commit = shop.commit({ 'web/typo.yaml': undefined, 'web/port.yaml': service('port', 80) })
    await waitUntilRunning(commit)
    expect(await wide().find(broken[1] as KubeReference)).toBeDefined()
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'web').length === 0)
  })
})

describe('a kind that the API server does not serve', () => {
  const gadget = { apiVersion: 'example.com/v1', kind: 'Gadget', metadata: { name: 'g', namespace } }

  test('is told with the file; the rest is applied', async () => {
    shop.commit({
      'web/good.yaml': configMap('web-good', { version: '6' }),
      'web/gadget.yaml': JSON.stringify({ ...gadget, spec: { size: 1 } }),
    })
    await waitForData('web-good', '6')
    await waitForProblems('web', `UnknownKind Gadget.example.com ${namespace}/g web/gadget.yaml`)
    expect(await readText()).toMatch(/Gadget\.example\.com default\/g \(web\/gadget\.yaml:1\): UnknownKind: /)
  })

  test('is applied by itself when its CRD appears later', async () => {
    await wide().create(customResourceDefinition())
    await waitFor('the Gadget to be applied', async () => (await wide().find(gadget)) !== undefined, {
      timeoutMs: 60_000,
      logs: [fleet.getCluster('wide').kubelet],
    })
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'web').length === 0)
  })
})

describe('an object in a namespace that nobody has made', () => {
  const orphan = configMapReference('orphan', 'not-yet')

  test('is told with the file; the rest is applied', async () => {
    shop.commit({
      'web/good.yaml': configMap('web-good', { version: '7' }),
      'web/orphan.yaml': configMap('orphan', { version: '1' }, 'not-yet'),
    })
    await waitForData('web-good', '7')
    await waitForProblems('web', 'NamespaceNotFound ConfigMap not-yet/orphan web/orphan.yaml')
  })

  test('is applied when another application makes the namespace', async () => {
    const commit = shop.commit({
      'tax/namespace.yaml': JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'not-yet' } }),
    })
    await waitUntilRunning(commit)
    expect(await wide().find(orphan)).toBeDefined()
    expect(problemsOf(await fleet.status(), 'web')).toEqual([])
  })
})

describe('a field that cannot be changed', () => {
  const reference = { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'once', namespace } }

  test('is told with the file; the object stays as it is, and the rest is applied', async () => {
    shop.commit({ 'web/job.yaml': job('once', { args: ['first'] }) })
    await waitFor('the Job to be applied', async () => (await wide().find(reference)) !== undefined, {
      logs: [fleet.getCluster('wide').kubelet],
    })
    const before = await wide().get(reference)
    shop.commit({
      'web/job.yaml': job('once', { args: ['second'] }),
      'web/good.yaml': configMap('web-good', { version: '8' }),
    })
    await waitForData('web-good', '8')
    await waitForProblems('web', `ImmutableField Job.batch ${namespace}/once web/job.yaml`)
    expect((await wide().get(reference)).metadata).toMatchObject({
      uid: before.metadata.uid,
      generation: before.metadata.generation,
    })
  })

  test('is forgotten when Git says again what is there', async () => {
    shop.commit({ 'web/job.yaml': job('once', { args: ['first'] }) })
    await fleet.waitForStatus('no problem to be left', (status) => problemsOf(status, 'web').length === 0)
  })
})

describe('an object outside the namespaces that the agent may manage', () => {
  test('is told with the file; the rest is applied', async () => {
    shop.commit({
      'team/good.yaml': configMap('team', { version: '1' }),
      'team/elsewhere.yaml': configMap('elsewhere', { version: '1' }, 'default'),
      'team/cluster-wide.yaml': JSON.stringify({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: 'grabbed' },
      }),
    })
    await fleet.apply(applicationDefinition('team', { repository: 'shop', matchLabels: { scope: 'narrow' } }))
    await waitForProblems(
      'team',
      'ApplyForbidden ConfigMap default/elsewhere team/elsewhere.yaml',
      'ApplyForbidden Namespace grabbed team/cluster-wide.yaml',
    )
    const { admin } = fleet.getCluster('narrow').cluster
    expect(await admin.find(configMapReference('team', 'team'))).toBeDefined()
    expect(await admin.find(configMapReference('elsewhere'))).toBeUndefined()
    expect(await admin.find({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'grabbed' } })).toBeUndefined()
  })

  test('is forgotten when it leaves Git', async () => {
    const commit = shop.remove('team/elsewhere.yaml', 'team/cluster-wide.yaml')
    await fleet.waitForStatus('team to run', (status) => runs(status, 'team', 'narrow', commit))
    expect(problemsOf(await fleet.status(), 'team')).toEqual([])
  })
})

function customResourceDefinition(): KubeReference & { readonly spec: unknown } {
  const schema = {
    type: 'object',
    properties: { spec: { type: 'object', properties: { size: { type: 'integer' } } } },
  }
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'gadgets.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { kind: 'Gadget', plural: 'gadgets', singular: 'gadget', listKind: 'GadgetList' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  }
}
