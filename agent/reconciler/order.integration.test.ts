// Who waits for whom: an object only for what it depends on, and nothing for a revision that is out of date.
import { waitFor } from '@fairlead/e2e/harness/wait'
import type { ApplicationReport } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'order' })

/** A second try would come after an hour. */
const withoutRetries = {
  transientBaseMs: 3_600_000,
  transientMaxMs: 3_600_000,
  userBaseMs: 3_600_000,
  userMaxMs: 3_600_000,
}
const watchOver = async (resources: readonly string[], namespaces = [here.namespace]) =>
  await here.ask({ namespaces, resources, timeoutSeconds: 30 })
const configMap = (name: string, metadata: object = {}, data: object = {}): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...metadata },
  data,
})
const wave = (number: number): object => ({ annotations: { 'fairlead.dev/wave': String(number) } })
const space = (name: string): TestObject => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
const group = (): string => `${here.namespace}.example.com`
const crd = (kind: string, versions: readonly string[] = ['v1']): TestObject => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${kind.toLowerCase()}s.${group()}` },
  spec: {
    group: group(),
    scope: 'Namespaced',
    names: {
      plural: `${kind.toLowerCase()}s`,
      singular: kind.toLowerCase(),
      kind,
      listKind: `${kind}List`,
    },
    versions: versions.map((name, index) => ({
      name,
      served: true,
      storage: index === 0,
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
    })),
  },
})
const custom = (kind: string, name: string, version = 'v1'): TestObject => ({
  apiVersion: `${group()}/${version}`,
  kind,
  metadata: { name },
  spec: { size: 1 },
})
const find = async (object: TestObject, inside = here.namespace) =>
  await here.admin.find({ ...object, metadata: { ...object.metadata, namespace: inside } })
const codes = ({ problems }: ApplicationReport): string[] =>
  problems.map(({ code, object }) => `${code} ${object?.kind ?? ''} ${object?.name ?? ''}`).sort()

test('a Namespace that is slow to be made holds up only what is in it', async () => {
  const bed = await here.start()
  const slow = `${here.namespace}-slow`
  const gate = await watchOver(['namespaces'], [here.namespace, slow])
  gate.hold()
  bed.update({ web: { objects: [space(slow), configMap('outside'), configMap('inside', { namespace: slow })] } })
  await waitFor('the object outside', async () => await find(configMap('outside')))
  await waitFor('the Namespace to be asked for', () => gate.requests.length > 0)
  expect(await find(configMap('inside'), slow)).toBeUndefined()
  gate.release()
  await bed.synced('web')
  expect(await find(configMap('inside'), slow)).toBeDefined()
  expect(bed.requests(['patch']).filter(({ code }) => code >= 400)).toEqual([])
})

test('a Namespace that is refused holds up only what is in it, with the reason, and both follow when it is let in', async () => {
  const bed = await here.start({ limits: { transientBaseMs: 100, transientMaxMs: 200 } })
  const refused = `${here.namespace}-refused`
  const gate = await watchOver(['namespaces'], [here.namespace, refused])
  gate.review = () => ({ allowed: false, message: 'no more namespaces' })
  bed.update({ web: { objects: [space(refused), configMap('outside'), configMap('inside', { namespace: refused })] } })
  const report = await bed.reported('web', 'refused', ({ problems }) => problems.length === 2)
  expect(codes(report)).toEqual([`ApplyRefused Namespace ${refused}`, 'DependencyFailed ConfigMap inside'])
  for (const { message } of report.problems) expect(message).toContain('no more namespaces')
  await waitFor('the object outside', async () => await find(configMap('outside')))
  gate.review = () => ({ allowed: true })
  await bed.synced('web')
  expect(await find(configMap('inside'), refused)).toBeDefined()
})

test('a CRD that is refused holds up only its custom resources', async () => {
  const bed = await here.start()
  const broken = crd('Gear')
  const spec = { ...(broken.spec as object), scope: 'Sideways' }
  bed.update({
    web: { objects: [{ ...broken, spec }, crd('Cog'), custom('Gear', 'g'), custom('Cog', 'c'), configMap('a')] },
  })
  const report = await bed.reported('web', 'refused', ({ problems }) => problems.length === 2)
  expect(codes(report)).toEqual([`ApplyInvalid CustomResourceDefinition gears.${group()}`, 'DependencyFailed Gear g'])
  await waitFor('the others', async () => (await find(custom('Cog', 'c'))) && (await find(configMap('a'))))
  bed.update({ web: { objects: [crd('Gear'), crd('Cog'), custom('Gear', 'g'), custom('Cog', 'c'), configMap('a')] } })
  await bed.synced('web')
  expect(await find(custom('Gear', 'g'))).toBeDefined()
})

test('a CRD that is slow to be made holds up only its custom resources', async () => {
  const bed = await here.start()
  const gate = await watchOver(['customresourcedefinitions'])
  gate.hold()
  bed.update({ web: { objects: [crd('Gear'), custom('Gear', 'g'), configMap('a')] } })
  await waitFor('the other object', async () => await find(configMap('a')))
  await waitFor('the CRD to be asked for', () => gate.requests.length > 0)
  gate.release()
  await bed.synced('web')
  expect(await find(custom('Gear', 'g'))).toBeDefined()
})

test('a version that a CRD of another application comes to serve is noticed at once', async () => {
  const bed = await here.start({ limits: withoutRetries })
  const old = { objects: [crd('Gear')] }
  const gears = (version: string) => ({ objects: [custom('Gear', 'g', version), custom('Gear', 'h', version)] })
  bed.update({ crds: old, web: gears('v1') })
  await bed.synced('web')
  bed.update({ crds: old, web: gears('v2') })
  await bed.reported('web', 'of an unknown version', (report) => codes(report).includes('UnknownKind Gear g'))
  bed.update({ crds: { objects: [crd('Gear', ['v1', 'v2'])] }, web: gears('v2') })
  await bed.synced('web')
})

test('a CRD made by somebody else while the application waits is noticed', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [custom('Gear', 'g'), configMap('a')] } })
  await bed.reported('web', 'of an unknown kind', (report) => codes(report).includes('UnknownKind Gear g'))
  await here.admin.create(crd('Gear'))
  await bed.synced('web')
  expect(await find(custom('Gear', 'g'))).toBeDefined()
})

test('a wave waits until the one before is applied and healthy, and only the waves after it', async () => {
  const bed = await here.start({ limits: { transientBaseMs: 100, transientMaxMs: 200 } })
  const gate = await watchOver(['serviceaccounts'])
  gate.review = ({ name }) => (name === 'first' ? { allowed: false, message: 'not yet' } : { allowed: true })
  const account = (name: string, metadata: object): TestObject => ({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, ...metadata },
  })
  bed.update({
    web: {
      objects: [
        account('first', wave(-1)),
        configMap('early', wave(-2)),
        configMap('beside', wave(-1)),
        configMap('late'),
      ],
    },
  })
  const report = await bed.reported('web', 'waiting', ({ problems }) => problems.length === 2)
  expect(codes(report)).toEqual(['ApplyRefused ServiceAccount first', 'DependencyFailed ConfigMap late'])
  expect([await find(configMap('early')), await find(configMap('beside'))]).not.toContain(undefined)
  expect(await find(configMap('late'))).toBeUndefined()
  gate.review = () => ({ allowed: true })
  await bed.synced('web')
  expect(await find(configMap('late'))).toBeDefined()
})

const never = (name: string): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, ...wave(-1) },
  spec: {
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'nginx:1' }] } },
  },
})

test('a newer revision pre-empts a wait for health at once', async () => {
  const bed = await here.start()
  // Without controllers a Deployment never becomes healthy, and is waited for for ten minutes.
  bed.update({ web: { objects: [never('d'), configMap('late')] } })
  await waitFor('the first wave', async () => await find(never('d')))
  bed.update({ web: { objects: [never('d'), configMap('urgent', wave(-1))] } })
  await bed.reported('web', 'at the newer revision', ({ objects }) => objects === 2)
  await waitFor('the fix', async () => await find(configMap('urgent')))
  expect(await find(configMap('late'))).toBeUndefined()
})

test('a newer revision pre-empts a retry back-off at once', async () => {
  const bed = await here.start({ limits: withoutRetries })
  const gate = await watchOver(['configmaps'])
  gate.review = ({ name }) => (name === 'a' ? { allowed: false, message: 'no' } : { allowed: true })
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.reported('web', 'refused', (report) => codes(report).includes('ApplyRefused ConfigMap a'))
  gate.review = () => ({ allowed: true })
  bed.update({ web: { objects: [configMap('a', {}, { b: '2' })] } })
  await bed.synced('web')
})

test('a newer revision does not wait for a slow webhook that the older one is still asking', async () => {
  const bed = await here.start()
  const gate = await watchOver(['serviceaccounts'])
  gate.hold()
  const account: TestObject = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 's', ...wave(-1) } }
  bed.update({ web: { objects: [account, configMap('old')] } })
  await waitFor('the webhook to be asked', () => gate.requests.length > 0)
  bed.update({ web: { objects: [configMap('new')] } })
  await waitFor('the newer revision', async () => await find(configMap('new')))
  expect(await find(configMap('old'))).toBeUndefined()
})
