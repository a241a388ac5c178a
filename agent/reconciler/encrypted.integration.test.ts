// Manifests that the real sops encrypted, on a real API server: in the clear in the cluster, and nowhere else.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { ensureTools } from '@fairlead/e2e/tools/tools'
import type { ApplicationReport } from '@fairlead/proto/report'
import { createLogger } from '@fairlead/shared/logger'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { AGE_APPLICATIONS_ANNOTATION, AGE_LABEL } from '../decryptor/age-keys.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let folder: string
let sops: string
let identity: string
let bed: ReconcilerBed
let namespace: string
let number = 0
const logged: string[] = []
const reports: ApplicationReport[] = []

/** Every secret value of the tests has it. */
const needle = 'k0rrekt-horse'
const isTold = (text: string): boolean =>
  [needle, '424242', Buffer.from(needle).toString('base64').slice(0, 16)].some((part) => text.includes(part))

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'fairlead-encrypted-'))
  cluster = await startCluster({ name: 'encrypted' })
  sops = (await ensureTools(['sops'])).sops
}, 600_000)
afterAll(async () => {
  rmSync(folder, { recursive: true })
  await cluster?.stop()
})
beforeEach(async () => {
  namespace = `t${++number}`
  identity = await generateIdentity()
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
  bed = await start()
})
afterEach(async () => await bed?.stop())

const start = async (): Promise<ReconcilerBed> =>
  await ReconcilerBed.start(
    { cluster, namespace },
    {
      logger: createLogger({
        name: 'test',
        level: 'trace',
        stream: { write: (line: string) => void logged.push(line) },
      }),
      reports: { put: (report) => reports.push(report), removed: () => undefined },
    },
  )

const addKey = async (name: string, key: string, annotations: Record<string, string> = {}): Promise<void> => {
  const metadata = { name, namespace, labels: { [AGE_LABEL]: 'true' }, annotations }
  await cluster.admin.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata,
    stringData: { 'keys.txt': `# made today\n${key}\n` },
  } as never)
}

async function encrypt(object: TestObject, regex = '^(data|stringData)$', key = identity): Promise<TestObject> {
  const file = path.join(folder, 'object.json')
  writeFileSync(file, JSON.stringify(object))
  const args = ['encrypt', '--age', await identityToRecipient(key), '--encrypted-regex', regex, file]
  return JSON.parse(execFileSync(sops, args, { encoding: 'utf8' })) as TestObject
}

const secret = (name: string, stringData: Record<string, unknown> = { password: needle }): TestObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name },
  stringData,
})
const configMap = (name: string, data: Record<string, unknown> = { a: '1' }): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
const find = async (kind: string, name: string) =>
  await cluster.admin.find({ apiVersion: 'v1', kind, metadata: { name, namespace } })
const passwordOf = async (name: string): Promise<string> =>
  Buffer.from(String(getField(await find('Secret', name), 'data.password') ?? ''), 'base64').toString()

const inventoryJson = (inventory: unknown): string => String(getField(inventory, 'data', 'inventory.json'))

/** Everything that the agent said and wrote down besides the objects themselves. */
async function told(): Promise<string> {
  const inventories = await cluster.admin.list(
    { apiVersion: 'v1', kind: 'Secret', metadata: { namespace } },
    { labels: 'fairlead.dev/inventory=true' },
  )
  expect(inventories.length).toBeGreaterThan(0)
  const text = (value: unknown): string =>
    JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
  const kept = inventories.map((inventory) => Buffer.from(inventoryJson(inventory), 'base64').toString())
  return [...logged, ...reports.map(text), text(bed.reconciler.reports()), ...kept].join('\n')
}

test('an encrypted Secret is applied in the clear, repaired, and told nowhere', async () => {
  await addKey('sops-age', identity)
  bed.update({ web: { objects: [await encrypt(secret('login')), configMap('beside')] } })
  await bed.synced('web')
  expect(await passwordOf('login')).toBe(needle)
  expect(getField(await find('Secret', 'login'), 'sops')).toBeUndefined()
  await cluster.admin.patch(
    { ...secret('login'), metadata: { name: 'login', namespace } },
    { stringData: { password: 'x' } },
  )
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  expect(await passwordOf('login')).toBe(needle)
  expect(isTold(await told())).toBe(false)
})

test('a restart with encrypted objects writes nothing', async () => {
  await addKey('sops-age', identity)
  const entry = { web: { objects: [await encrypt(secret('login'))] } }
  bed.update(entry)
  await bed.synced('web')
  const before = bed.requests(writeVerbs)
  await bed.stop()
  bed = await start()
  bed.update(entry)
  await bed.synced('web')
  expect(bed.requests(writeVerbs)).toEqual(before)
})

test('what the inventory keeps of an encrypted object cannot be guessed from', async () => {
  await addKey('sops-age', identity)
  const hashOf = async (): Promise<unknown> => {
    const inventory = await find('Secret', 'fairlead-inventory-web')
    return JSON.parse(Buffer.from(inventoryJson(inventory), 'base64').toString()).objects[0][4]
  }
  bed.update({ web: { objects: [await encrypt(secret('login'))] } })
  await bed.synced('web')
  const first = await hashOf()
  // The same secret encrypted anew: who knows the value cannot make the hash of it.
  bed.update({ web: { objects: [await encrypt(secret('login'))] } })
  await waitFor('another hash', async () => (await hashOf()) !== first)
})

test('without a key it is told with object and file, the others go on, and a key that comes opens it without a restart', async () => {
  bed.update({ web: { objects: [configMap('beside'), await encrypt(secret('login'))] } })
  const report = await bed.reported('web', 'with its problem', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([
    {
      code: 'DecryptionFailed',
      message: expect.stringContaining(`it is encrypted for ${await identityToRecipient(identity)}`),
      object: { kind: 'Secret', name: 'login' },
      source: { file: 'deploy/web.yaml', line: 11 },
    },
  ])
  await waitFor('the other object', async () => (await find('ConfigMap', 'beside')) !== undefined)
  await addKey('sops-age', identity)
  await bed.synced('web')
  expect(await passwordOf('login')).toBe(needle)
})

test('what was altered is refused, changes nothing and is not pruned; the others go on', async () => {
  await addKey('sops-age', identity)
  const good = await encrypt(secret('login'))
  bed.update({ web: { objects: [good, configMap('a')] } })
  await bed.synced('web')
  const before = await find('Secret', 'login')
  const altered = { ...good, stringData: { ...(good.stringData as object), extra: 'x' } }
  bed.update({ web: { objects: [altered, configMap('b')] } })
  const report = await bed.reported('web', 'with its problem', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([{ code: 'DecryptionFailed', object: { name: 'login' } }])
  await waitFor(
    'a to be pruned and b applied',
    async () => !(await find('ConfigMap', 'a')) && (await find('ConfigMap', 'b')),
  )
  expect((await find('Secret', 'login'))?.metadata.resourceVersion).toBe(before?.metadata.resourceVersion)
  bed.update({ web: { objects: [configMap('b')] } })
  await waitFor('what is really dropped to be pruned', async () => !(await find('Secret', 'login')))
})

test('several keys may be there; a new one takes effect at once, a removed one is not used again', async () => {
  const next = await generateIdentity()
  await addKey('old', identity)
  bed.update({ web: { objects: [await encrypt(secret('login'))] } })
  await bed.synced('web')
  await addKey('new', next)
  bed.update({ web: { objects: [await encrypt(secret('login', { password: `${needle}-2` }), undefined, next)] } })
  await waitFor('the new value', async () => (await passwordOf('login')) === `${needle}-2`)
  await cluster.admin.delete({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'old', namespace } })
  bed.update({ web: { objects: [await encrypt(secret('login', { password: `${needle}-3` }))] } })
  await bed.reported('web', 'locked', ({ problems }) => problems[0]?.code === 'DecryptionFailed')
  expect(await passwordOf('login')).toBe(`${needle}-2`)
})

test('a key that is for one application opens nothing of another', async () => {
  await addKey('sops-age', identity, { [AGE_APPLICATIONS_ANNOTATION]: 'web, shop' })
  bed.update({
    web: { objects: [await encrypt(secret('one'))] },
    other: { objects: [await encrypt(secret('two'))] },
  })
  await bed.synced('web')
  await bed.reported('other', 'locked', ({ problems }) => problems[0]?.code === 'DecryptionFailed')
  expect(await find('Secret', 'two')).toBeUndefined()
})

test('what the API server says of a decrypted value that it refuses is not told', async () => {
  await addKey('sops-age', identity)
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'svc' },
    spec: { ports: [{ name: needle, port: 424_242 }], selector: { a: needle } },
  }
  bed.update({
    web: {
      objects: [
        await encrypt(configMap('typed', { password: 424_242 })),
        await encrypt(service, '^spec$'),
        await encrypt(configMap('named', { [`a ${'b'}`]: needle })),
      ],
    },
  })
  const report = await bed.reported('web', 'with its problems', ({ problems }) => problems.length === 3)
  expect(report.problems.map(({ code, object }) => `${code} ${object?.name}`).sort()).toEqual([
    'ApplyInvalid named',
    'ApplyInvalid svc',
    'ApplyInvalid typed',
  ])
  expect(report.problems.find(({ object }) => object?.name === 'svc')?.message).toContain('spec.ports[0].port')
  expect(isTold(await told())).toBe(false)
})

test('drift of an encrypted object is told without the values that name items of lists', async () => {
  await addKey('sops-age', identity)
  const account = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'sa' },
    secrets: [{ name: needle }],
  }
  bed.update({ web: { objects: [await encrypt(account, '^secrets$')] } })
  await bed.synced('web')
  const where = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'sa', namespace } }
  await cluster.admin.patch(where, [{ op: 'remove', path: '/secrets/0' }], { type: 'json' })
  const report = await bed.reported('web', 'repaired', ({ drifts }) => drifts.length > 0)
  expect(report.drifts[0]?.fields.join()).toContain('secrets[…]')
  expect(isTold(await told())).toBe(false)
})

test('a preview of an encrypted object says what would change without the values that name items of lists', async () => {
  await addKey('sops-age', identity)
  const where = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'sa', namespace } }
  const account = { ...where, metadata: { name: 'sa' }, secrets: [{ name: needle }] }
  bed.update({ web: { objects: [await encrypt(account, '^secrets$')], remediate: false } })
  await bed.synced('web')
  // One that people added has a name too.
  const theirs = [{ op: 'replace', path: '/secrets', value: [{ name: `${needle}-2` }] }]
  await cluster.admin.patch(where, theirs, { type: 'json', fieldManager: 'kubectl-edit' })
  const { changes } = await bed.reconciler.preview('web', AbortSignal.timeout(10_000))
  expect(changes).toMatchObject([{ action: 'update', fields: expect.arrayContaining(['secrets[…]']) }])
  expect(isTold(JSON.stringify(changes.map(({ fields, message, manager }) => [fields, message, manager])))).toBe(false)
})

test('what the API server says of a decrypted value when it is asked about drift that is left is not told', async () => {
  await addKey('sops-age', identity)
  const labels = { app: needle }
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd' },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'nginx' }] } },
    },
  }
  const target = { objects: [await encrypt(deployment, '^(matchLabels|labels)$')], remediate: false }
  bed.update({ web: target })
  await bed.synced('web')
  await bed.stop()
  await makeAnew(deployment)
  bed = await start()
  await bed.updateOnceSeen('web', target, 1)
  const report = await bed.reported('web', 'drifted', ({ drifted, drifts }) => drifted === 1 && drifts.length === 1)
  expect(report).toMatchObject({ problems: [], drifts: [{ object: { name: 'd' } }] })
  expect(isTold(await told())).toBe(false)
})

/** As a restore makes it, our labels among what it has, with another selector: which cannot be changed, and which a refusal quotes. */
async function makeAnew(deployment: TestObject): Promise<void> {
  const labels = { 'app.kubernetes.io/managed-by': 'fairlead', 'fairlead.dev/application': 'web' }
  const where = { ...deployment, metadata: { ...deployment.metadata, namespace, labels } }
  await cluster.admin.delete(where)
  const other = JSON.parse(JSON.stringify(where).replaceAll(needle, 'other')) as typeof where
  await cluster.admin.create(other as never, { fieldManager: 'restore' })
}
