import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, toJson } from '@bufbuild/protobuf'
import { DefinitionDocumentSchema, RenderOptionsSchema } from '@fairlead/proto/definitions'
import type { ErrorDetail, ProblemsError } from '@fairlead/shared/grpc-status'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { placeApplication } from '../placer/placer.ts'
import { openStore, type Store } from '../store/store.ts'
import { createDefinitions, type Definitions } from './definitions.ts'

type Json = Record<string, unknown>

let directory: string
let store: Store
let definitions: Definitions
let changes: number

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-definitions-'))
  store = await openStore(join(directory, 'fairlead.db'), { logger: silentLogger })
  changes = 0
  const onChange = () => {
    changes++
  }
  definitions = createDefinitions({ store, placeApplication, onChange, logger: silentLogger, clock: () => 1_000 })
  await store.db.insertInto('clusters').values(cluster('c1')).execute()
})

afterEach(async () => {
  await store.close()
  rmSync(directory, { recursive: true })
})

const cluster = (name: string) => ({ id: name, name, labels: '{"env":"prod"}', created_at: 1 })

const repository = (
  spec: Json = { url: 'https://git.example.com/shop.git' },
  metadata: Json = { name: 'shop' },
): Json => ({
  apiVersion: 'fairlead.dev/v1alpha1',
  kind: 'Repository',
  metadata,
  spec,
})

const application = (spec: Json = {}, metadata: Json = { name: 'web' }): Json => ({
  apiVersion: 'fairlead.dev/v1alpha1',
  kind: 'Application',
  metadata,
  spec: { source: { repository: 'shop' }, placement: { clusters: {} }, ...spec },
})

/** Each document on its own line of one file. */
const apply = async (documents: unknown[], dryRun = false) =>
  await definitions.apply(
    documents.map((document, index) =>
      create(DefinitionDocumentSchema, { json: JSON.stringify(document), source: { file: 'f.yaml', line: index + 1 } }),
    ),
    { dryRun, actor: 'admin' },
  )

async function problemsOf(documents: unknown[]): Promise<readonly ErrorDetail[]> {
  const error = await apply(documents).then(
    () => undefined,
    (thrown: ProblemsError) => thrown,
  )
  expect(error).toMatchObject({ code: 'InvalidArgument' })
  return error?.problems ?? []
}

const fieldsOf = async (documents: unknown[]) => (await problemsOf(documents)).map(({ field }) => field)
const stored = async () => ({
  repositories: await store.db.selectFrom('repositories').select(['name', 'generation']).execute(),
  applications: await store.db.selectFrom('applications').select(['name', 'generation', 'deleting']).execute(),
})

const forEachOf = (more: object) => ({
  source: undefined,
  placement: undefined,
  forEach: { template: { source: { repository: 'shop' } }, ...more },
})
const COSIGN_KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' })
const SSH = {
  knownHosts: 'h ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  privateKeyFrom: 'env:FAIRLEAD_GIT_KEY',
}

describe('applying', () => {
  test('creates, leaves alone and configures, with an audit row for each change', async () => {
    const first = await apply([application(), repository()])
    expect(first.map(({ kind, name, action }) => [kind, name, action])).toEqual([
      ['Application', 'web', 'created'],
      ['Repository', 'shop', 'created'],
    ])
    const second = await apply([application(), repository()])
    expect(second.map(({ action }) => action)).toEqual(['unchanged', 'unchanged'])
    expect(changes).toBe(1)
    const third = await apply([
      application({ namespace: 'web' }),
      repository(undefined, { name: 'shop', labels: { a: 'b' } }),
    ])
    expect(third.map(({ action }) => action)).toEqual(['configured', 'configured'])
    // Labels are no part of the spec: only what changes the spec makes a new generation.
    expect(await stored()).toMatchObject({
      applications: [{ name: 'web', generation: 2 }],
      repositories: [{ name: 'shop', generation: 1 }],
    })
    const audit = await store.db.selectFrom('audit').select(['action', 'object']).execute()
    expect(audit.map(({ action, object }) => `${action} ${object}`)).toEqual([
      'application.apply Application/web',
      'repository.apply Repository/shop',
      'application.apply Application/web',
      'repository.apply Repository/shop',
    ])
  })

  test('an order of fields that differs, an empty field or a path written otherwise changes nothing', async () => {
    await apply([
      repository(),
      application({ source: { repository: 'shop', path: 'deploy/web' }, sync: { prune: true } }),
    ])
    const other = {
      sync: { prune: true, adopt: '' },
      namespace: null,
      source: { path: './deploy//web/', repository: 'shop', ref: null },
    }
    expect((await apply([application(other)])).map(({ action }) => action)).toEqual(['unchanged'])
  })

  test('a dry run says the same and stores nothing', async () => {
    const results = await apply([application(), repository()], true)
    expect(results.map(({ action }) => action)).toEqual(['created', 'created'])
    expect(await stored()).toEqual({ repositories: [], applications: [] })
    expect(await store.db.selectFrom('audit').selectAll().execute()).toEqual([])
    expect(changes).toBe(0)
    expect(await problemsOf([application()])).toHaveLength(1)
  })

  test('stores nothing when one document is wrong, and says everything that is wrong with all of them', async () => {
    const problems = await problemsOf([
      repository({ url: 'git://git@host/x' }),
      application({ source: { repository: 'none', path: '/deploy', ref: '-x' }, placment: {} }, { name: 'A.b' }),
      application({ source: { repository: 'none', path: '../deploy' }, sync: { adopt: 'sometimes' } }, { name: 'api' }),
      application({}, { name: 'good' }),
    ])
    expect(problems).toEqual([
      {
        file: 'f.yaml',
        line: 1,
        object: 'Repository/shop',
        field: 'spec.url',
        message: 'must begin with https://, http:// or ssh://, not git://',
      },
      {
        file: 'f.yaml',
        line: 2,
        object: 'Application/A.b',
        field: 'spec.placment',
        message: 'unknown field "placment"; did you mean placement?',
      },
      {
        file: 'f.yaml',
        line: 2,
        object: 'Application/A.b',
        field: 'metadata.name',
        message: expect.stringContaining('"A.b" is not a valid name'),
      },
      {
        file: 'f.yaml',
        line: 3,
        object: 'Application/api',
        field: 'spec.source.repository',
        message: 'there is no Repository "none", and none is applied along with this',
      },
      {
        file: 'f.yaml',
        line: 3,
        object: 'Application/api',
        field: 'spec.source.path',
        message: 'must not contain ".."',
      },
      {
        file: 'f.yaml',
        line: 3,
        object: 'Application/api',
        field: 'spec.sync.adopt',
        message: '"sometimes" is none of never, ifEqual, always',
      },
    ])
    expect(await stored()).toEqual({ repositories: [], applications: [] })
  })

  test('the message lists each problem on a line with file, line, object and field', async () => {
    await expect(apply([repository({}), repository({ url: 'x' }, { name: 'b' })])).rejects.toThrow(
      'f.yaml:1: Repository/shop: spec.url: is missing: the https://, http:// or ssh:// address of the repository\n' +
        'f.yaml:2: Repository/b: spec.url: is not an address: write https://<host>/<path>',
    )
  })

  test('refuses applications that wait for themselves in a circle, over what is stored as well, and stores none of them', async () => {
    await apply([repository(), application({}, { name: 'db' }), application({ dependsOn: ['db'] })])
    expect(await problemsOf([application({ dependsOn: ['web'] }, { name: 'db' })])).toMatchObject([
      { object: 'Application/db', field: 'spec.dependsOn[0]', message: 'waits for itself: db -> web -> db', line: 1 },
    ])
    expect((await definitions.getApplication('db')).spec?.dependsOn).toEqual([])
  })

  test('warns where an application waits for one that does not run there', async () => {
    await store.db
      .insertInto('clusters')
      .values({ ...cluster('c2'), labels: '{}' })
      .execute()
    const db = application({ placement: { clusters: { matchLabels: { env: 'prod' } } } }, { name: 'db' })
    const results = await apply([repository(), db, application({ dependsOn: ['db'] })])
    expect(results.map(({ warnings }) => warnings)).toEqual([
      [],
      [],
      ['spec.dependsOn: db does not run on c2: waits there'],
    ])
  })

  test('warns of a placement that selects no cluster and of names that do not exist yet', async () => {
    const results = await apply([
      repository(),
      application({ placement: { clusters: { matchLabels: { env: 'test' } } } }, { name: 'none' }),
      application({ placement: { names: ['c1', 'later'] } }, { name: 'named' }),
      application(),
    ])
    expect(results.map(({ warnings }) => warnings)).toEqual([
      [],
      ['spec.placement: selects no cluster'],
      ['spec.placement.names: no such cluster yet: later'],
      [],
    ])
  })

  test('takes again what came out of the hub, and says that it does not read the status', async () => {
    await apply([repository()])
    const metadata = { name: 'shop', uid: 'other', generation: '7', createdAt: '2026-01-01T00:00:00Z' }
    const [result] = await apply([{ ...repository(undefined, metadata), status: { refs: [] } }])
    expect(result).toMatchObject({ action: 'unchanged', warnings: ['status is made by the hub and is not read'] })
  })

  test('an application that is being deleted and is applied again is a new one', async () => {
    await apply([repository(), application()])
    const { uid } = await store.db.selectFrom('applications').select('uid').executeTakeFirstOrThrow()
    await deploy('c1', 'desired')
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    expect((await apply([application()]))[0]).toMatchObject({ action: 'created' })
    const row = await store.db.selectFrom('applications').select(['uid', 'deleting']).executeTakeFirstOrThrow()
    expect(row.deleting).toBeNull()
    expect(row.uid).not.toBe(uid)
  })

  test('an application that is applied again with another source while it is deleted runs nothing of the old one', async () => {
    await apply([repository(), application()])
    await deploy('c1', 'desired')
    const render = { commit: 'c', input_hash: 'h', attempted_commit: 'c', problems: '[]', rendered_at: 1 }
    await store.db
      .insertInto('renders')
      .values({ ...render, application: 'web', variant: '', artifact_digest: null, revision: null })
      .execute()
    const countRenders = async () => (await store.db.selectFrom('renders').select('application').execute()).length
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    await apply([application()])
    expect(await countRenders()).toBe(1)
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    await apply([application({ source: { repository: 'shop', path: 'other' } })])
    expect(await countRenders()).toBe(0)
  })

  test.each([[[]], [['x']], [[null]], [[[repository()]]]])('refuses %j, which is no document', async (documents) => {
    await expect(apply(documents)).rejects.toMatchObject({ code: 'InvalidArgument' })
    expect(await stored()).toEqual({ repositories: [], applications: [] })
  })

  test('says where a document of another kind belongs', async () => {
    const [deployment, kind, unknown] = await problemsOf([
      { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' } },
      { apiVersion: 'fairlead.dev/v1alpha1', kind: 'Clusters', metadata: { name: 'c1' } },
      { metadata: { name: 'x' } },
    ])
    expect(deployment).toMatchObject({ field: 'apiVersion', object: 'Deployment/web' })
    expect(deployment?.message).toContain('belong into Git')
    expect(kind?.message).toContain('use Repository, Application or Cluster')
    expect(unknown).toMatchObject({ field: 'apiVersion', message: 'is missing: write fairlead.dev/v1alpha1' })
    const cluster = { apiVersion: 'fairlead.dev/v1alpha1', kind: 'Cluster', metadata: { name: 'c1' } }
    await expect(apply([cluster])).rejects.toMatchObject({ code: 'FailedPrecondition' })
  })

  test('keeps the values of a chart as they are written', async () => {
    const values = { a: null, b: [1, 'x', { c: 2.5 }], 'd.e/f': { '0': true }, n: 12345678901 }
    const helm = { valueFiles: ['x.yaml'], values }
    await apply([repository(), application({ render: { helm } })])
    const { spec } = await definitions.getApplication('web')
    expect(spec?.render && toJson(RenderOptionsSchema, spec.render)).toEqual({ helm })
  })

  test('refuses a document that is given twice, and says where the first is', async () => {
    const problems = await problemsOf([repository(), application(), application()])
    expect(problems).toMatchObject([{ line: 3, message: 'is given twice in one request; the first is in f.yaml:2' }])
  })
})

describe('a field', () => {
  test.each([
    [{ source: { repository: 'shop', ref: 1.5 } }, 'spec.source.ref', 'must be a string, not 1.5; write it in quotes'],
    [{ source: 'shop' }, 'spec.source', 'must be a mapping, not "shop"'],
    [{ sync: { prune: 'yes' } }, 'spec.sync.prune', 'must be true or false, not "yes"'],
    [{ sync: { Prune: true } }, 'spec.sync.Prune', 'unknown field "Prune"; did you mean prune?'],
    [{ placement: { names: 'c1' } }, 'spec.placement.names', 'must be a list, not "c1"'],
    [{ placement: { names: ['c1', 7] } }, 'spec.placement.names[1]', 'must be a string, not 7; write it in quotes'],
    [
      { placement: { clusters: { matchLabels: { env: true } } } },
      'spec.placement.clusters.matchLabels["env"]',
      'must be a string, not true; write it in quotes',
    ],
    [
      { placement: { clusters: { matchExpressions: [{ key: 'a', op: 'In' }] } } },
      'spec.placement.clusters.matchExpressions[0].op',
      'unknown field "op"; known are key, operator, values',
    ],
    [
      { helm: {} },
      'spec.helm',
      'unknown field "helm"; known are source, placement, namespace, sync, suspend, health, dependsOn, render, overrides, forEach',
    ],
    [
      { __proto__x: 1 },
      'spec.__proto__x',
      'unknown field "__proto__x"; known are source, placement, namespace, sync, suspend, health, dependsOn, render, overrides, forEach',
    ],
    [
      { sync: { ignoreFields: [{ group: 'apps', kind: 'Deployment', paths: ['spec..replicas'] }] } },
      'spec.sync.ignoreFields[0].paths[0]',
      '"spec..replicas", character 6: expected the name of a field',
    ],
    [
      { render: { helm: { valuesFiles: [] } } },
      'spec.render.helm.valuesFiles',
      'unknown field "valuesFiles"; did you mean valueFiles?',
    ],
    [{ render: { helm: { values: 'a: 1' } } }, 'spec.render.helm.values', 'must be a mapping, not "a: 1"'],
    [{ render: { kustomize: { path: 'x' } } }, 'spec.render.kustomize.path', 'unknown field "path"; known are '],
    [
      { render: { helm: { valueFiles: ['/x'] } } },
      'spec.render.helm.valueFiles[0]',
      'must be relative to the path of the source: leave the first "/" out',
    ],
  ])('of the wrong shape is named by its path: %j', async (spec, field, message) => {
    expect(await problemsOf([repository(), application(spec)])).toMatchObject([{ field, message }])
  })

  test.each([
    [{ url: 'https://git.example.com/shop.git', pollInterval: '5m' }, []],
    [{ url: 'http://127.0.0.1:3000/shop', credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } }, []],
    [{ url: 'https://h/x', credentials: { from: 'file:/etc/fairlead/token' }, pollInterval: '1s' }, []],
    [{ url: 'https://h/x', credentials: { from: 'secret:fairlead/shop.git#token_1' } }, []],
    [{}, ['spec.url']],
    [{ url: 'git@github.com:a/b.git' }, ['spec.ssh']],
    [
      { url: 'git@github.com:a/b.git', ssh: { knownHosts: 'github.com ssh-ed25519 AAAA', privateKeyFrom: 'env:X' } },
      [],
    ],
    [{ url: 'ssh://git@h/b', ssh: { knownHosts: 'x' } }, ['spec.ssh.knownHosts', 'spec.ssh.privateKeyFrom']],
    [{ url: 'ssh://-oProxyCommand=x/b' }, ['spec.url']],
    [{ url: 'https://h/x', submodules: {}, lfs: { hosts: ['cdn.example.com'] } }, []],
    [
      { url: 'https://h/x', submodules: { hosts: ['*'] }, lfs: { hosts: ['a b'] } },
      ['spec.submodules.hosts[0]', 'spec.lfs.hosts[0]'],
    ],
    [
      {
        url: 'ssh://git@h/b',
        ssh: { knownHosts: 'h ssh-ed25519 AAAA', privateKeyFrom: 'env:X' },
        credentials: { from: 'env:X' },
        proxy: { url: '' },
      },
      ['spec.credentials', 'spec.proxy'],
    ],
    [{ url: 'file:///etc' }, ['spec.url']],
    [{ url: 'https://' }, ['spec.url']],
    [{ url: 'https://u:p@h/x' }, ['spec.url']],
    [{ url: 'https://token@h/x' }, ['spec.url']],
    [{ url: 'https://h/x?y#z' }, ['spec.url']],
    [{ url: 'https://h/x', pollInterval: '500ms' }, ['spec.pollInterval']],
    [{ url: 'https://h/x', pollInterval: '25h' }, ['spec.pollInterval']],
    [{ url: 'https://h/x', pollInterval: 30 }, ['spec.pollInterval']],
    [{ url: 'https://h/x', pollInterval: 'soon' }, ['spec.pollInterval']],
    [{ url: 'https://h/x', credentials: {} }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'ghp_secret' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'file:relative' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:shop#token' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:a/b/c#token' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:a/b' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:a/..#token' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:../b#token' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', credentials: { from: 'secret:a/b#../c' } }, ['spec.credentials.from']],
    [{ url: 'https://h/x', caPem: 'nonsense' }, ['spec.caPem']],
    [{ url: 'https://h/x', webhook: { secretFrom: 'file:/etc/fairlead/hook' } }, []],
    [
      { url: 'https://h/x', redirectHosts: ['cdn.example.com', '10.0.0.1:8443'], proxy: { url: 'http://proxy:3128' } },
      [],
    ],
    [
      { url: 'https://h/x', redirectHosts: ['https://cdn'], proxy: { url: 'http://u:p@proxy' } },
      ['spec.proxy.url', 'spec.redirectHosts[0]'],
    ],
    [
      {
        url: 'https://h/x',
        credentials: { githubApp: { appId: '1', installationId: '2', privateKeyFrom: 'env:FAIRLEAD_GIT_APP' } },
      },
      [],
    ],
    [
      { url: 'https://h/x', credentials: { from: 'env:X', githubApp: { appId: '', installationId: 'x' } } },
      [
        'spec.credentials',
        ...['appId', 'installationId', 'privateKeyFrom'].map((field) => `spec.credentials.githubApp.${field}`),
      ],
    ],
    [{ url: 'https://h/x', webhook: {} }, ['spec.webhook.secretFrom']],
    [
      {
        url: 'https://h/x',
        verify: {
          allowedSigners: 'dev ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
          gpgKeysFrom: 'env:X',
        },
      },
      [],
    ],
    [{ url: 'https://h/x', verify: {} }, ['spec.verify']],
    [{ url: 'https://h/x', verify: { allowedSigners: 'nonsense' } }, ['spec.verify.allowedSigners']],
    [{ url: 'https://h/x', verify: { gpgKeys: 'nonsense' } }, ['spec.verify.gpgKeys']],
    [
      { url: 'https://h/x', verify: { gpgKeys: '-----BEGIN PGP PRIVATE KEY BLOCK-----', gpgKeysFrom: 'x' } },
      ['spec.verify.gpgKeys', 'spec.verify.gpgKeysFrom'],
    ],
    [{ url: 'https://h/x', caPem: '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----' }, ['spec.caPem']],
    [{ url: 'oci://h/team/app', verify: { cosignKeys: COSIGN_KEY }, definitions: {} }, []],
    [{ url: 'oci+http://h:5000/charts', helm: {}, credentials: { from: 'env:FAIRLEAD_GIT_CHARTS' } }, []],
    [{ url: 'https://h/charts', helm: {}, redirectHosts: ['cdn.example.com'] }, []],
    [{ url: 'oci://h/Team/app' }, ['spec.url']],
    [{ url: 'oci://bot:hunter2@h/app' }, ['spec.url']],
    [{ url: 'git@h:x', ssh: SSH, helm: {} }, ['spec.helm']],
    [{ url: 'oci://h/app', ssh: SSH, submodules: {}, lfs: {} }, ['spec.submodules', 'spec.lfs', 'spec.ssh']],
    [{ url: 'https://h/charts', helm: {}, definitions: {} }, ['spec.definitions']],
    [{ url: 'https://h/charts', helm: {}, verify: { cosignKeys: COSIGN_KEY } }, ['spec.verify']],
    [{ url: 'oci://h/app', verify: {} }, ['spec.verify']],
    [{ url: 'oci://h/app', verify: { cosignKeys: 'nonsense' } }, ['spec.verify.cosignKeys']],
    [{ url: 'oci://h/app', verify: { gpgKeysFrom: 'env:X' } }, ['spec.verify.gpgKeysFrom']],
    [{ url: 'https://h/x', verify: { cosignKeys: COSIGN_KEY } }, ['spec.verify.cosignKeys']],
  ])('of a repository is held to its rules: %j', async (spec, fields) => {
    if (fields.length === 0) await expect(apply([repository(spec)])).resolves.toHaveLength(1)
    else expect(await fieldsOf([repository(spec)])).toEqual(fields)
  })

  test('that may hold a secret is never repeated', async () => {
    for (const spec of [
      { url: 'https://user:hunter2@h/x' },
      { url: 'oci://user:hunter2@h/x' },
      { url: 'hunter2 hunter2' },
      { url: 'https://h/x', credentials: { from: 'hunter2' } },
    ]) {
      expect(JSON.stringify(await problemsOf([repository(spec)]))).not.toContain('hunter2')
    }
  })

  test.each([
    [{ source: { repository: 'shop', path: 'deploy/web', ref: 'feature/x' } }, []],
    [{ source: { repository: 'shop', path: '.', ref: 'v1.2.3' } }, []],
    [
      {
        source: { repository: 'shop', ref: 'a'.repeat(40) },
        namespace: 'web',
        sync: { adopt: 'ifEqual', deletionPolicy: 'orphan', serviceAccount: 'web.deployer-1' },
      },
      [],
    ],
    [{ source: undefined }, ['spec.source']],
    [{ source: {} }, ['spec.source.repository']],
    [{ source: { repository: 'shop', path: '/etc' } }, ['spec.source.path']],
    [{ source: { repository: 'shop', path: 'a/../../b' } }, ['spec.source.path']],
    [{ source: { repository: 'shop', path: 'a\\b' } }, ['spec.source.path']],
    [{ source: { repository: 'shop', ref: '--upload-pack=x' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'a..b' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'a b' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'semver:^1.2' } }, []],
    [{ source: { repository: 'shop', ref: 'semver:>=1.0 <3 || 4.x' } }, []],
    [{ source: { repository: 'shop', chart: 'web', ref: `1.0.0@sha256:${'a'.repeat(64)}` } }, []],
    [{ source: { repository: 'shop', chart: '../web' } }, ['spec.source.chart']],
    [{ source: { repository: 'shop', ref: '1.0.0@sha256:abc' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'semver:' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'semver:latest' } }, ['spec.source.ref']],
    [{ source: { repository: 'shop', ref: 'semver :1' } }, ['spec.source.ref']],
    [{ placement: undefined }, ['spec.placement']],
    [{ placement: {} }, ['spec.placement']],
    [{ placement: { clusters: {}, names: ['c1'] } }, ['spec.placement']],
    [
      { placement: { names: ['C1', 'c1', 'c1', '*'] } },
      ['names[0]', 'names[2]', 'names[3]'].map((f) => `spec.placement.${f}`),
    ],
    [
      { placement: { clusters: { matchExpressions: [{ key: 'env', operator: 'Gt', values: ['1'] }] } } },
      ['spec.placement.clusters.matchExpressions[0].operator'],
    ],
    [{ namespace: 'Web' }, ['spec.namespace']],
    [{ sync: { adopt: 'IfEqual' } }, ['spec.sync.adopt']],
    [{ sync: { deletionPolicy: 'Orphan' } }, ['spec.sync.deletionPolicy']],
    [{ sync: { serviceAccount: 'web\r\nImpersonate-User: system:admin' } }, ['spec.sync.serviceAccount']],
    [{ sync: { serviceAccount: 'other:web' } }, ['spec.sync.serviceAccount']],
    [{ sync: { serviceAccount: 'Web' } }, ['spec.sync.serviceAccount']],
    [{ sync: { serviceAccount: 'a'.repeat(254) } }, ['spec.sync.serviceAccount']],
    [
      forEachOf({
        folders: { repository: 'shop', path: './apps/*', exclude: ['apps/x'] },
        labels: { a: '${each.part1}' },
      }),
      [],
    ],
    [forEachOf({ file: { repository: 'shop', path: 'teams.yaml' }, name: '${each.anything}' }), []],
    [forEachOf({ clusters: {}, name: '${each.labels.example.com/region}' }), []],
    [{ ...forEachOf({ clusters: {} }), suspend: true }, []],
    [forEachOf({}), ['spec.forEach']],
    [forEachOf({ clusters: {}, file: { repository: 'shop', path: 'a' } }), ['spec.forEach']],
    [forEachOf({ clusters: {}, template: undefined }), ['spec.forEach.template']],
    [{ ...forEachOf({ clusters: {} }), namespace: 'x' }, ['spec.namespace']],
    [forEachOf({ clusters: {}, template: { forEach: {} } }), ['spec.forEach.template.forEach']],
    [
      forEachOf({ clusters: {}, template: { nmespace: 'x', source: { ref: 1 } } }),
      ['nmespace', 'source.ref'].map((f) => `spec.forEach.template.${f}`),
    ],
    [
      forEachOf({ folders: { repository: 'none', ref: 'a..b', path: '../x' } }),
      ['repository', 'ref', 'path'].map((f) => `spec.forEach.folders.${f}`),
    ],
    [
      forEachOf({ folders: { repository: 'shop', path: 'a/*b*c*d*', exclude: ['x', '../y', '****'] } }),
      ['path', 'exclude[1]', 'exclude[2]'].map((f) => `spec.forEach.folders.${f}`),
    ],
    [
      forEachOf({ folders: { repository: 'shop' }, name: '${each.labels.x}' }),
      ['spec.forEach.folders.path', 'spec.forEach.name'],
    ],
    [forEachOf({ clusters: {}, template: { namespace: '${each.path}' } }), ['spec.forEach.template.namespace']],
  ])('of an application is held to its rules: %j', async (spec, fields) => {
    await apply([repository()])
    if (fields.length === 0) await expect(apply([application(spec)])).resolves.toHaveLength(1)
    else expect(await fieldsOf([application(spec)])).toEqual(fields)
  })

  test.each(['c1', 'c10', 'c1-a'])('metadata.name takes %s', async (name) => {
    await expect(apply([repository(undefined, { name })])).resolves.toHaveLength(1)
  })

  test.each(['a.b', '*', '>', 'ü', 'C1', '', 'a/b', 7, null])('metadata.name refuses %j', async (name) => {
    expect(await fieldsOf([repository(undefined, { name })])).toContain('metadata.name')
  })

  test('metadata.labels are those of Kubernetes', async () => {
    expect(await fieldsOf([repository(undefined, { name: 'shop', labels: { 'a b': 'c', d: 'e f' } })])).toEqual([
      'metadata.labels',
      'metadata.labels',
    ])
  })
})

async function deploy(clusterId: string, state: 'desired' | 'tombstone', name = 'web'): Promise<void> {
  await store.db
    .insertInto('deployments')
    .values({ cluster_id: clusterId, application: name, state, prune: 0, since: 1 })
    .execute()
}

describe('suspending', () => {
  const suspend = async (to: boolean, name = 'web') =>
    await definitions.suspendApplication({ name, suspend: to }, 'admin')
  const audited = async () => await store.db.selectFrom('audit').select(['action', 'object', 'actor']).execute()

  test('an application is stored in its spec as a new generation, with an audit row, and told', async () => {
    await apply([repository(), application({ namespace: 'shop' })])
    const before = changes
    const suspended = await suspend(true)
    expect(suspended).toMatchObject({ metadata: { generation: 2n }, spec: { suspend: true, namespace: 'shop' } })
    expect((await audited()).at(-1)).toEqual({
      action: 'application.suspend',
      object: 'Application/web',
      actor: 'admin',
    })
    expect(changes).toBe(before + 1)
    expect(await suspend(false)).toMatchObject({ metadata: { generation: 3n }, spec: { suspend: false } })
    expect((await audited()).at(-1)?.action).toBe('application.resume')
  })

  test('what is so already changes nothing', async () => {
    await apply([repository(), application({ suspend: true })])
    const [before, rows] = [changes, (await audited()).length]
    expect(await suspend(true)).toMatchObject({ metadata: { generation: 1n }, spec: { suspend: true } })
    expect([changes, (await audited()).length]).toEqual([before, rows])
  })

  test('an application that does not exist or is being deleted is refused', async () => {
    await expect(suspend(true, 'nobody')).rejects.toMatchObject({ code: 'NotFound' })
    await apply([repository(), application()])
    await deploy('c1', 'desired')
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    await expect(suspend(true)).rejects.toMatchObject({ code: 'FailedPrecondition' })
  })
})

describe('deleting', () => {
  test('an application takes it from its clusters and keeps it until they have confirmed', async () => {
    await apply([repository(), application()])
    await deploy('c1', 'desired')
    expect(await definitions.deleteApplication({ name: 'web', orphan: true }, 'admin')).toEqual(['c1'])
    expect((await stored()).applications).toEqual([{ name: 'web', generation: 1, deleting: 'orphan' }])
    expect(await definitions.getApplication('web')).toMatchObject({ status: { deleting: true, clusters: ['c1'] } })
  })

  test.each([
    [{ deletionPolicy: 'orphan' }, 'orphan'],
    [{ deletionPolicy: 'delete', prune: false }, 'prune'],
    [{ prune: false }, 'orphan'],
    [{}, 'prune'],
  ])('an application with %j, its objects are told to %s', async (sync, deleting) => {
    await apply([repository(), application({ sync })])
    await deploy('c1', 'desired')
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    expect((await stored()).applications).toMatchObject([{ deleting }])
  })

  test('an application that is on no cluster forgets it at once', async () => {
    await apply([repository(), application()])
    expect(await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')).toEqual([])
    expect((await stored()).applications).toEqual([])
    await expect(definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')).rejects.toMatchObject({
      code: 'NotFound',
    })
  })

  test('an application that another depends on is refused until that is gone or names it no more', async () => {
    const db = application({}, { name: 'db' })
    await apply([repository(), db, application({ dependsOn: ['db'] })])
    await expect(definitions.deleteApplication({ name: 'db', orphan: false }, 'admin')).rejects.toMatchObject({
      code: 'FailedPrecondition',
      message: 'Application/db is used by web; delete them first',
    })
    await apply([application()])
    expect(await definitions.deleteApplication({ name: 'db', orphan: false }, 'admin')).toEqual([])
  })

  test('a repository is refused while an application uses it, and forgets what was seen of it', async () => {
    await apply([repository(), application()])
    await store.db
      .insertInto('refs')
      .values({ repository: 'shop', ref: 'main', commit: 'a'.repeat(40), seen_at: 5, polled_at: 6, problem: null })
      .execute()
    await store.db.insertInto('repository_state').values({ repository: 'shop', last_polled_at: 6 }).execute()
    await expect(definitions.deleteRepository('shop', 'admin')).rejects.toMatchObject({
      code: 'FailedPrecondition',
      message: 'Repository/shop is used by web; delete them first',
    })
    expect(await definitions.getRepository('shop')).toMatchObject({
      metadata: { name: 'shop', generation: 1n },
      spec: { url: 'https://git.example.com/shop.git' },
      status: { refs: [{ ref: 'main', commit: 'a'.repeat(40) }] },
    })
    await definitions.deleteApplication({ name: 'web', orphan: false }, 'admin')
    await definitions.deleteRepository('shop', 'admin')
    expect(await definitions.listRepositories()).toEqual([])
    expect(await store.db.selectFrom('refs').selectAll().execute()).toEqual([])
    await expect(definitions.getRepository('shop')).rejects.toMatchObject({ code: 'NotFound' })
  })
})

describe('reading', () => {
  test('an application says what was rendered last, why the newest commit is not, and where it runs', async () => {
    await apply([repository(), application()])
    await deploy('c1', 'desired')
    const revision = JSON.stringify({ repository: 'shop', ref: 'main', commit: 'a'.repeat(40) })
    const problems = JSON.stringify([{ code: 'InvalidYaml', message: 'm', source: { file: 'a.yaml', line: 3 } }])
    await store.db
      .insertInto('renders')
      .values({
        application: 'web',
        variant: '',
        commit: 'a'.repeat(40),
        attempted_commit: 'b'.repeat(40),
        input_hash: 'h',
        artifact_digest: null,
        revision,
        problems,
        rendered_at: 1,
      })
      .execute()
    const [read] = await definitions.listApplications()
    expect(read?.status).toMatchObject({
      clusters: ['c1'],
      deleting: false,
      revision: { commit: 'a'.repeat(40) },
      problems: [{ code: 'InvalidYaml', source: { file: 'a.yaml', line: 3 } }],
    })
  })
})
