import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { CredentialsSchema } from '@fairlead/proto/enrolment'
import { AgentFactsSchema } from '@fairlead/proto/report'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { silentLogger } from '@fairlead/shared/logger'
import { createNkey, type Nkey } from '@fairlead/shared/nkey'
import { CLUSTER_ID_PATTERN } from '@fairlead/shared/subjects'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findCapabilities } from '../store/capabilities-rows.ts'
import { openStore, type Store } from '../store/store.ts'
import { CHALLENGE_TTL_MS } from './challenge.ts'
import { createRegistry, type Registry } from './registry.ts'

const HOUR_MS = 3_600_000

let directory: string
let store: Store
let registry: Registry
let nowMs: number
let revoked: string[]
let changes: number

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-registry-'))
  store = await openStore(join(directory, 'fairlead.db'), { logger: silentLogger })
  nowMs = 1_800_000_000_000
  revoked = []
  changes = 0
  registry = createRegistry({
    store,
    issuer: {
      issue: async (clusterId, publicKey) => create(CredentialsSchema, { userJwt: `${clusterId}/${publicKey}` }),
      revoke: async (publicKey) => {
        revoked.push(publicKey)
      },
    },
    hubAddress: () => 'hub.example.com:7443',
    caPin: 'sha256:abc',
    onChange: () => {
      changes++
    },
    logger: silentLogger,
    clock: () => nowMs,
  })
})

afterEach(async () => {
  await store.close()
  rmSync(directory, { recursive: true })
})

const register = async (name: string, tokenTtlMs?: number) =>
  await registry.register({ name, labels: {}, ...(tokenTtlMs === undefined ? {} : { tokenTtlMs }) }, 'admin')

const joinWith = async (token: string, key: Nkey = createNkey('U'), peer = 'ipv4:10.0.0.1:5000') =>
  await registry.join({
    token,
    publicKey: key.publicKey,
    proof: key.sign(joinProofBytes(token, key.publicKey)),
    facts: create(AgentFactsSchema, {
      agentVersion: '1',
      kubernetesVersion: 'v1.36.3',
      clusterUid: 'u',
      served: [{ apiVersion: 'v1', kinds: ['Pod'] }],
    }),
    peer,
  })

const renewWith = async (clusterId: string, key: Nkey, challenge = registry.challenge()) => {
  const proof = key.sign(renewProofBytes(clusterId, key.publicKey, challenge))
  return await registry.renew({ clusterId, publicKey: key.publicKey, challenge, proof })
}

const audit = async () => await store.db.selectFrom('audit').select(['actor', 'action', 'object', 'detail']).execute()
const wrongToken = `flj_${'A'.repeat(43)}`

test('a token may live for a part of a millisecond more than a minute', async () => {
  const { join } = await register('c1', 60_000.5)
  await expect(joinWith(join.token)).resolves.toMatchObject({ clusterName: 'c1' })
})

describe('registering', () => {
  test('makes a random id that holds nothing of the name, a token and an audit row', async () => {
    const { cluster, join: instructions } = await register('c1')
    expect(cluster.id).toMatch(CLUSTER_ID_PATTERN)
    expect(instructions).toMatchObject({ hubAddress: 'hub.example.com:7443', caPin: 'sha256:abc' })
    expect(instructions.token).toMatch(/^flj_[\w-]{43}$/)
    expect(changes).toBe(1)
    expect(await audit()).toMatchObject([{ actor: 'admin', action: 'cluster.register', object: 'Cluster/c1' }])
  })

  test.each(['c1', 'c10', 'c1-a'])('takes the name %s, and no two of them are ever confused', async (name) => {
    for (const each of ['c1', 'c10', 'c1-a']) await register(each)
    const cluster = await registry.get(name)
    expect(cluster.name).toBe(name)
    const others = (await registry.list()).filter((other) => other.name !== name)
    expect(others.map((other) => other.id)).not.toContain(cluster.id)
    expect(others).toHaveLength(2)
  })

  test.each(['a.b', '*', '>', 'c*', 'ümlaut', 'сluster', 'C1', '', '../c1', 'c1\0', 'c 1'])(
    'refuses the name %j in words',
    async (name) => {
      await expect(register(name)).rejects.toMatchObject({ code: 'InvalidArgument', context: { field: 'name' } })
      expect(await registry.list()).toEqual([])
    },
  )

  test('refuses a name that is taken, also when two come at the same time', async () => {
    const both = await Promise.allSettled([register('c1'), register('c1')])
    expect(both.map((each) => each.status).sort()).toEqual(['fulfilled', 'rejected'])
    await expect(register('c1')).rejects.toMatchObject({ code: 'AlreadyExists' })
  })

  test('keeps only the SHA-256 of a token', async () => {
    const { join: instructions } = await register('c1')
    const everything = JSON.stringify([await store.db.selectFrom('join_tokens').selectAll().execute(), await audit()])
    expect(everything).not.toContain(instructions.token)
    expect(everything).not.toContain(instructions.token.slice(4))
  })

  test.each([0, 59_999, 7 * 24 * HOUR_MS + 1, Number.NaN])('refuses a token that lives %d ms', async (ttlMs) => {
    await expect(register('c1', ttlMs)).rejects.toMatchObject({ code: 'InvalidArgument' })
  })

  test('refuses labels that Kubernetes would refuse', async () => {
    const labels = { 'a b': 'c' }
    await expect(registry.register({ name: 'c1', labels }, 'admin')).rejects.toMatchObject({ code: 'InvalidArgument' })
    await register('c1')
    const update = registry.updateLabels({ name: 'c1', set: { a: 'b c' }, remove: [] }, 'admin')
    await expect(update).rejects.toMatchObject({ code: 'InvalidArgument' })
  })
})

describe('joining', () => {
  test('redeems the token once, for the key that proves itself', async () => {
    const { cluster, join: instructions } = await register('c1')
    const key = createNkey('U')
    const joined = await joinWith(instructions.token, key)
    expect(joined).toMatchObject({ clusterId: cluster.id, clusterName: 'c1' })
    expect(joined.credentials.userJwt).toBe(`${cluster.id}/${key.publicKey}`)
    expect(await registry.get('c1')).toMatchObject({
      publicKey: key.publicKey,
      joinedAtMs: nowMs,
      facts: { kubernetesVersion: 'v1.36.3' },
    })
    // Before it is given anything: charts see the cluster in the first render already.
    const { capabilities } = await store.db.selectFrom('clusters').select('capabilities').executeTakeFirstOrThrow()
    expect(await findCapabilities(store.db, capabilities)).toEqual({
      kubeVersion: 'v1.36.3',
      apiVersions: ['v1', 'v1/Pod'],
    })
    expect((await registry.get('c1')).facts?.served).toEqual([])
    expect((await audit()).map((row) => row.action)).toEqual(['cluster.register', 'cluster.join'])
    await expect(joinWith(instructions.token)).rejects.toMatchObject({ code: 'JoinTokenRefused' })
    expect((await registry.get('c1')).publicKey).toBe(key.publicKey)
  })

  test('gives the same key the same answer again, because the first may have been lost', async () => {
    const { join: instructions } = await register('c1')
    const key = createNkey('U')
    const first = await joinWith(instructions.token, key)
    expect(await joinWith(instructions.token, key)).toEqual(first)
    nowMs += 2 * HOUR_MS
    await expect(joinWith(instructions.token, key)).rejects.toMatchObject({ code: 'JoinTokenRefused' })
  })

  test('says the same words for an unknown, used, expired or foreign token, and the audit trail says which', async () => {
    const used = (await register('used')).join.token
    await joinWith(used)
    const expired = (await register('expired', 60_000)).join.token
    nowMs += 60_000
    const messages: string[] = []
    for (const token of [wrongToken, used, expired, 'flj_short', '']) {
      const error = await joinWith(token).then(
        () => undefined,
        (thrown: Error) => thrown,
      )
      expect(error).toMatchObject({ code: 'JoinTokenRefused' })
      messages.push(error?.message ?? '')
    }
    expect(new Set(messages)).toEqual(
      new Set([
        'the join token is unknown, already used, or expired; make a new one with: fairlead cluster token <name>',
      ]),
    )
    const refused = (await audit()).filter((row) => row.action === 'cluster.join.refused')
    expect(refused.map((row) => [row.object, JSON.parse(row.detail).reason])).toEqual([
      ['Cluster', 'unknown'],
      ['Cluster/used', 'used'],
      ['Cluster/expired', 'expired'],
      ['Cluster', 'malformed'],
      ['Cluster', 'malformed'],
    ])
    expect(registry.refusedTokens()).toBe(5)
  })

  test('a proof for another token or by another key is refused and consumes nothing', async () => {
    const { join: instructions } = await register('c1')
    const [key, other] = [createNkey('U'), createNkey('U')]
    const { token } = instructions
    const attempt = { token, publicKey: key.publicKey, peer: 'p' }
    for (const proof of [
      other.sign(joinProofBytes(token, key.publicKey)),
      key.sign(joinProofBytes(wrongToken, key.publicKey)),
      key.sign(renewProofBytes(token, key.publicKey, new Uint8Array())),
      new Uint8Array(64),
      new Uint8Array(),
    ]) {
      await expect(registry.join({ ...attempt, proof })).rejects.toMatchObject({ code: 'InvalidArgument' })
    }
    const account = createNkey('A')
    await expect(joinWith(token, account)).rejects.toMatchObject({ code: 'InvalidArgument' })
    await expect(joinWith(token, key)).resolves.toMatchObject({ clusterName: 'c1' })
  })

  test('with a new token replaces the key and revokes the old one', async () => {
    const { cluster, join: instructions } = await register('c1')
    const [first, second] = [createNkey('U'), createNkey('U')]
    await joinWith(instructions.token, first)
    const again = await registry.createJoinToken({ name: 'c1' }, 'admin')
    expect(await joinWith(again.token, second)).toMatchObject({ clusterId: cluster.id })
    expect(revoked).toEqual([first.publicKey])
    expect(await store.db.selectFrom('revoked_keys').select('public_key').execute()).toEqual([
      { public_key: first.publicKey },
    ])
    const outbox = await store.db.selectFrom('outbox').select(['kind', 'key']).execute()
    expect(outbox).toEqual([{ kind: 'claims', key: first.publicKey }])
    await expect(renewWith(cluster.id, first)).rejects.toMatchObject({ code: 'IdentityRevoked' })
    await expect(renewWith(cluster.id, second)).resolves.toMatchObject({ userJwt: `${cluster.id}/${second.publicKey}` })
    const third = await registry.createJoinToken({ name: 'c1' }, 'admin')
    await expect(joinWith(third.token, first)).rejects.toMatchObject({ code: 'IdentityRevoked' })
  })

  test('a new token ends the one before it', async () => {
    const { join: instructions } = await register('c1')
    const newer = await registry.createJoinToken({ name: 'c1' }, 'admin')
    await expect(joinWith(instructions.token)).rejects.toMatchObject({ code: 'JoinTokenRefused' })
    await expect(joinWith(newer.token)).resolves.toMatchObject({ clusterName: 'c1' })
  })

  test('one key never becomes two clusters', async () => {
    const key = createNkey('U')
    await joinWith((await register('c1')).join.token, key)
    const { join: instructions } = await register('c2')
    await expect(joinWith(instructions.token, key)).rejects.toMatchObject({ code: 'InvalidArgument' })
    await expect(joinWith(instructions.token)).resolves.toMatchObject({ clusterName: 'c2' })
  })

  test('1,000 guesses reach the database 10 times for one peer and 100 times for all, and all are counted', async () => {
    const { join: instructions } = await register('c1')
    const codes = new Map<string, number>()
    const guess = async (peer: string) => {
      const code = await joinWith(wrongToken, createNkey('U'), peer).then(
        () => 'joined',
        (error: { code: string }) => error.code,
      )
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
    for (let index = 0; index < 100; index++) await guess(`ipv4:10.0.0.1:${index}`)
    expect(Object.fromEntries(codes)).toEqual({ JoinTokenRefused: 10, TooManyAttempts: 90 })
    // Another peer still joins: one guesser does not lock the others out.
    const good = createNkey('U')
    await expect(joinWith(instructions.token, good, 'ipv4:10.9.9.9:1')).resolves.toMatchObject({ clusterName: 'c1' })
    for (let index = 0; index < 900; index++) await guess(`ipv4:10.0.${index % 250}.2:1`)
    expect(Object.fromEntries(codes)).toEqual({ JoinTokenRefused: 100, TooManyAttempts: 900 })
    expect((await audit()).filter((row) => row.action === 'cluster.join.refused')).toHaveLength(100)
    expect(registry.refusedTokens()).toBe(1_000)
    nowMs += 60_000
    const next = await registry.createJoinToken({ name: 'c1' }, 'admin')
    await expect(joinWith(next.token)).resolves.toMatchObject({ clusterName: 'c1' })
  })
})

test('guesses sent all at once get no further than one after the other', async () => {
  const guesses = Array.from({ length: 200 }, () => joinWith(wrongToken))
  const codes = (await Promise.allSettled(guesses)).map((guess) => guess.status === 'rejected' && guess.reason.code)
  expect(codes.filter((code) => code === 'JoinTokenRefused')).toHaveLength(10)
  expect(codes.filter((code) => code === 'TooManyAttempts')).toHaveLength(190)
  expect(registry.refusedTokens()).toBe(200)
})

describe('renewing', () => {
  async function joined(name: string) {
    const key = createNkey('U')
    const { clusterId } = await joinWith((await register(name)).join.token, key)
    return { clusterId, key }
  }

  test('needs a challenge of this hub that is younger than a minute', async () => {
    const { clusterId, key } = await joined('c1')
    const old = registry.challenge()
    nowMs += CHALLENGE_TTL_MS + 1
    const forged = registry.challenge()
    forged[3] = (forged[3] ?? 0) ^ 1
    for (const challenge of [old, forged, new Uint8Array(), new Uint8Array(56)]) {
      await expect(renewWith(clusterId, key, challenge)).rejects.toMatchObject({ code: 'FailedPrecondition' })
    }
    await expect(renewWith(clusterId, key)).resolves.toBeDefined()
  })

  test('of one cluster is of no use for another, whatever their names share', async () => {
    const one = await joined('c1')
    const ten = await joined('c10')
    await expect(renewWith(one.clusterId, ten.key)).rejects.toMatchObject({ code: 'IdentityRevoked' })
    const challenge = registry.challenge()
    const proof = ten.key.sign(renewProofBytes(ten.clusterId, ten.key.publicKey, challenge))
    const stolen = { clusterId: one.clusterId, publicKey: one.key.publicKey, challenge, proof }
    await expect(registry.renew(stolen)).rejects.toMatchObject({ code: 'PermissionDenied' })
    for (const clusterId of ['*', '>', `${one.clusterId}.x`, one.clusterId.toUpperCase(), '']) {
      await expect(renewWith(clusterId, one.key)).rejects.toMatchObject({ code: 'IdentityRevoked' })
    }
  })

  test('is refused for a removed cluster', async () => {
    const { clusterId, key } = await joined('c1')
    await registry.remove('c1', 'admin')
    await expect(renewWith(clusterId, key)).rejects.toMatchObject({ code: 'IdentityRevoked' })
  })
})

describe('removing', () => {
  test('revokes the key, forgets all rows and has NATS purged', async () => {
    const key = createNkey('U')
    const { clusterId } = await joinWith((await register('c1')).join.token, key)
    const application = { name: 'web', uid: 'u', generation: 1, labels: '{}', spec: '{}', created_at: 1 }
    await store.db
      .insertInto('applications')
      .values({ ...application, deleting: 'prune' })
      .execute()
    await store.db
      .insertInto('applications')
      .values({ ...application, name: 'api', deleting: null })
      .execute()
    for (const name of ['web', 'api']) {
      await store.db
        .insertInto('deployments')
        .values({ cluster_id: clusterId, application: name, state: 'tombstone', prune: 1, since: 1 })
        .execute()
    }
    await registry.remove('c1', 'admin')
    for (const table of ['clusters', 'join_tokens', 'deployments'] as const) {
      expect(await store.db.selectFrom(table).selectAll().execute()).toEqual([])
    }
    // An application that only waited for this cluster is gone; one that is wanted stays.
    expect(await store.db.selectFrom('applications').select('name').execute()).toEqual([{ name: 'api' }])
    expect(revoked).toEqual([key.publicKey])
    const outbox = await store.db.selectFrom('outbox').select(['kind', 'key']).execute()
    expect(outbox).toEqual([
      { kind: 'claims', key: key.publicKey },
      { kind: 'purge-cluster', key: clusterId },
    ])
    await expect(registry.get('c1')).rejects.toMatchObject({ code: 'NotFound' })
  })

  test('and registering again under the same name makes another identity', async () => {
    const first = (await register('c1')).cluster
    await registry.remove('c1', 'admin')
    const second = (await register('c1')).cluster
    expect(second.id).not.toBe(first.id)
  })

  test('works when NATS is away: the outbox holds what is to be done', async () => {
    const key = createNkey('U')
    await joinWith((await register('c1')).join.token, key)
    revoked.push = () => {
      throw new Error('NATS is away')
    }
    await registry.remove('c1', 'admin')
    expect(await store.db.selectFrom('revoked_keys').select('public_key').execute()).toHaveLength(1)
  })
})

describe('labels', () => {
  test('are set and removed, and clusters are listed by them', async () => {
    await register('c1')
    await register('c2')
    await registry.updateLabels({ name: 'c1', set: { env: 'prod', region: 'eu' }, remove: [] }, 'admin')
    const updated = await registry.updateLabels(
      { name: 'c1', set: { env: 'dev' }, remove: ['region', 'none'] },
      'admin',
    )
    expect(updated.labels).toEqual({ env: 'dev' })
    expect((await registry.list('env=dev')).map((cluster) => cluster.name)).toEqual(['c1'])
    expect((await registry.list('!env')).map((cluster) => cluster.name)).toEqual(['c2'])
    await expect(registry.list('a=b=c')).rejects.toMatchObject({ code: 'InvalidArgument' })
    await expect(registry.updateLabels({ name: 'c3', set: {}, remove: [] }, 'admin')).rejects.toMatchObject({
      code: 'NotFound',
    })
    expect((await audit()).at(-1)).toMatchObject({ action: 'cluster.label', object: 'Cluster/c1' })
  })
})

describe('values', () => {
  const update = (set: Record<string, string>, remove: string[] = []) =>
    registry.updateValues({ name: 'c1', set, remove }, 'admin')

  test('are set and removed, with any text in them, and written into the audit trail', async () => {
    await register('c1')
    await update({ zone: 'example.com', 'team/note': 'two\nlines = ✓' })
    expect((await update({ zone: 'example.org' }, ['team/note', 'none'])).values).toEqual({ zone: 'example.org' })
    expect((await registry.get('c1')).values).toEqual({ zone: 'example.org' })
    expect((await audit()).at(-1)).toMatchObject({ action: 'cluster.value', object: 'Cluster/c1' })
  })

  test.each([
    ['a key that is none', { 'a b': 'x' }, 'not a valid key'],
    ['a value that is too large', { a: 'ü'.repeat(2049) }, 'a has 4098 bytes; the limit is 4096'],
    [
      'values that are too large together',
      Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, 'x'.repeat(4096)])),
      'the limit is 65536',
    ],
    ['a value with a zero byte', { a: 'x\0' }, 'a is not text'],
  ])('%s is refused, and changes nothing', async (_what, set, message) => {
    await register('c1')
    await update({ zone: 'example.com' })
    await expect(update(set)).rejects.toMatchObject({
      code: 'InvalidArgument',
      message: expect.stringContaining(message),
    })
    expect((await registry.get('c1')).values).toEqual({ zone: 'example.com' })
  })

  test('of a cluster that does not exist are refused', async () => {
    await expect(update({})).rejects.toMatchObject({ code: 'NotFound' })
  })
})
