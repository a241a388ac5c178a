// Credentials of repositories in Secrets of a real cluster, read with the rights of a service account.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { takePort } from '@fairlead/e2e/harness/ports'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { ClusterSecrets, type ClusterSecretsOptions } from './cluster-secrets.ts'
import { openTrackerBed, type TrackerBed } from './tracker/tracker.test-support.ts'

const metadata = { name: 'hub', namespace: 'fairlead' }
const readable = ['shop', 'keys', 'missing']
let cluster: Cluster
let accountDir: string
let bed: TrackerBed

beforeAll(async () => {
  cluster = await startCluster({ name: 'hub' })
  const { admin } = cluster
  await admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'fairlead' } })
  await admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
  const rbac = 'rbac.authorization.k8s.io'
  const rules = [{ apiGroups: [''], resources: ['secrets'], resourceNames: readable, verbs: ['get'] }]
  await admin.create({ apiVersion: `${rbac}/v1`, kind: 'Role', metadata, rules } as never)
  const roleRef = { apiGroup: rbac, kind: 'Role', name: 'hub' }
  const subjects = [{ kind: 'ServiceAccount', ...metadata }]
  await admin.create({ apiVersion: `${rbac}/v1`, kind: 'RoleBinding', metadata, roleRef, subjects } as never)
  await keep('other', { token: 'hunter2' })
  await keep('keys', { token: 'hunter2' }, {})
  // As Kubernetes mounts it.
  accountDir = makeRunFolder('account')
  const { token } = await admin.createToken('fairlead', 'hub')
  writeAccount(accountDir, token)
}, 120_000)
afterAll(async () => {
  await cluster?.stop()
})
beforeEach(async () => {
  bed = await openTrackerBed()
})
afterEach(async () => {
  await bed[Symbol.asyncDispose]()
})

function writeAccount(folder: string, token: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'token'), `${token}\n`)
  writeFileSync(path.join(folder, 'ca.crt'), readFileSync(cluster.caFile))
}

async function keep(
  name: string,
  content: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>> = { 'fairlead.dev/credentials': 'true' },
): Promise<void> {
  const object = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'fairlead', labels } }
  await cluster.admin.apply({ ...object, stringData: content } as never, { force: true })
}

const sourcesOf = (options: Partial<ClusterSecretsOptions> = {}) => ({
  folders: [],
  environment: {},
  cluster: new ClusterSecrets({ server: cluster.server, accountDir, ttlMs: 0, ...options }),
})

test('a repository is read with the credentials of a Secret, and with the next ones after a rotation', async () => {
  bed.git.credentials = { username: 'bot', password: 'hunter2' }
  await keep('shop', { token: 'bot:hunter2' })
  const repository = bed.git.createRepository('shop')
  const first = repository.commit({ a: '1' })
  await bed.follow('shop')
  await bed.start({ credentials: sourcesOf() })
  await bed.define('shop', { url: repository.url, credentials: { from: 'secret:fairlead/shop#token' } })
  await bed.seen(first, 'shop')
  bed.git.credentials = { username: 'bot', password: 'correct horse' }
  const second = repository.commit({ a: '2' })
  bed.tracker.refresh('shop')
  await bed.broken('shop', 'RepositoryAuthFailed')
  await keep('shop', { token: 'bot:correct horse' })
  bed.tracker.refresh('shop')
  await bed.seen(second, 'shop')
  const everything = await bed.everything()
  for (const secret of ['hunter2', 'correct horse']) expect(everything).not.toContain(secret)
})

test('what is missing, forbidden, not labelled or outside of a cluster is told apart, and nothing of the content is', async () => {
  await keep('shop', { token: 'bot:hunter2' })
  const failure = async (key: string, options: Partial<ClusterSecretsOptions> = {}) => {
    const [name = '', field = ''] = key.split('#')
    const reading = sourcesOf(options).cluster.read({ namespace: 'fairlead', name, key: field })
    const error = await reading.then(
      () => ({ code: 'none', message: '' }),
      (thrown: { code: string; message: string }) => thrown,
    )
    expect(JSON.stringify([error, String(error)])).not.toContain('hunter2')
    return `${error.code}: ${error.message}`
  }
  expect(await failure('shop#token')).toBe('none: ')
  expect(await failure('shop#key')).toBe('RepositoryAuthFailed: Secret fairlead/shop has no key key')
  expect(await failure('shop#__proto__')).toBe('RepositoryAuthFailed: Secret fairlead/shop has no key __proto__')
  expect(await failure('missing#token')).toBe('RepositoryAuthFailed: there is no Secret fairlead/missing')
  expect(await failure('other#token')).toMatch(/^RepositoryAuthFailed: Secret fairlead.other may not be read/)
  expect(await failure('keys#token')).toMatch(/^RepositoryAuthFailed: .* give it the label fairlead.dev.credentials/)
  expect(await failure('shop#token', { server: undefined })).toMatch(/^RepositoryAuthFailed: .*not run in a Kubernetes/)
  expect(await failure('shop#token', { accountDir: '/nowhere' })).toMatch(/^RepositoryAuthFailed: .*no service account/)
  const stranger = makeRunFolder('stranger')
  writeAccount(stranger, 'hunter2')
  expect(await failure('shop#token', { accountDir: stranger })).toMatch(/^RepositoryAuthFailed: .*does not know/)
  const server = `https://127.0.0.1:${await takePort()}`
  expect(await failure('shop#token', { server })).toMatch(/^RepositoryUnreachable: .*ECONNREFUSED/)
})

test('many repositories of one Secret cost one request', async () => {
  await keep('shop', { token: 'bot:hunter2', webhook: 'x' })
  const secrets = sourcesOf({ ttlMs: 60_000 }).cluster
  const since = Date.now()
  const read = (key: string) => secrets.read({ namespace: 'fairlead', name: 'shop', key })
  expect(await Promise.all(['token', 'webhook', 'token'].map(read))).toEqual(['bot:hunter2', 'x', 'bot:hunter2'])
  expect(await read('token')).toBe('bot:hunter2')
  const user = 'system:serviceaccount:fairlead:hub'
  await expect.poll(() => cluster.auditLog({ user, since }).length).toBe(1)
})
