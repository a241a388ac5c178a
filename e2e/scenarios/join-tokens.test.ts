// A join token makes one cluster's agent, once, for a while, at its own hub; whatever else is tried with it is refused in
// words that help, and costs nobody else anything.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { create } from '@bufbuild/protobuf'
import {
  EnrolmentService,
  GetChallengeRequestSchema,
  JoinRequestSchema,
  type JoinResponse,
  RenewRequestSchema,
} from '@fairlead/proto/enrolment'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { type Client, createClient } from '@fairlead/shared/grpc'
import { createNkey, type Nkey } from '@fairlead/shared/nkey'
import { CLUSTER_ID_PATTERN } from '@fairlead/shared/subjects'
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startCluster } from '../harness/cluster.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { waitFor } from '../harness/wait.ts'
import { connectionOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let eu: FleetCluster
/** A cluster that nobody has registered; its agent tries whatever it is given. */
let thief: FleetCluster
let shop: GitRepository
let enrolment: Client<typeof EnrolmentService>
const web = configMapReference('web')

beforeAll(async () => {
  fleet = await startFleet()
  enrolment = connectEnrolment(fleet)
  shop = fleet.git.createRepository('shop')
  shop.commit({ 'web/config.yaml': configMap('web', { a: '1' }) })
  eu = await fleet.addCluster('eu', { agentValues: ['heartbeatSeconds=1'] })
  const unregistered = await startCluster({ name: 'thief' })
  thief = await FleetCluster.connect(fleet, unregistered, eu.installCommand)
  fleet.clusters.set('thief', thief)
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('web', { repository: 'shop', namespace: 'default', names: ['eu'] }),
  )
  await waitUntilRunning(shop.head())
})

afterAll(async () => {
  enrolment?.close()
  await fleet?.[Symbol.asyncDispose]()
})

async function waitUntilRunning(commit: string): Promise<void> {
  await fleet.waitForStatus('web to run', (status) => runs(status, 'web', 'eu', commit))
}

/** As an agent, or somebody else who reaches the hub's port, calls it. */
function connectEnrolment({ apiPort, dataDir }: Fleet): Client<typeof EnrolmentService> {
  const ca = readFileSync(path.join(dataDir, 'pki/ca.crt'))
  const options = { 'grpc.ssl_target_name_override': 'localhost' }
  return createClient(EnrolmentService, `127.0.0.1:${apiPort}`, grpc.credentials.createSsl(ca), options)
}

async function join(token: string, key: Nkey): Promise<JoinResponse> {
  const proof = key.sign(joinProofBytes(token, key.publicKey))
  return await enrolment.join(create(JoinRequestSchema, { token, publicKey: key.publicKey, proof }))
}

/** The name of the gRPC status that a call ends with; OK when it succeeds. */
async function statusOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'OK'
  } catch (error) {
    return grpc.status[(error as grpc.ServiceError).code] ?? String(error)
  }
}

/** Why the hub has refused tokens, oldest first, by its audit trail: `used eu`. */
function refusals(): string[] {
  const rows = fleet.query(`select object, detail from audit where action = 'cluster.join.refused' order by id`)
  return rows.map(({ object, detail }) => {
    const cluster = String(object).split('/')[1]
    return [(JSON.parse(String(detail)) as { reason: string }).reason, ...(cluster ? [cluster] : [])].join(' ')
  })
}

/** Runs a printed command on the cluster, whatever ran there before, and has the agent look at its token at once. */
async function tryToJoin(member: FleetCluster, printed: string, values: readonly string[] = []): Promise<void> {
  await member.install(values, printed.trim().replace(/^helm install/, 'helm upgrade --install'))
  await waitFor('the pod to be there', () => member.kubelet.pods.some(({ process }) => process?.running), {
    timeoutMs: 30_000,
    logs: [member.kubelet],
  })
  await member.kubelet.kill()
}

/** Waits until /readyz names such a problem, and returns its message. */
async function waitForProblem(member: FleetCluster, code: string, pattern = /./): Promise<string> {
  const problem = await waitFor(
    `/readyz to say ${code} ${pattern}`,
    async (see) => {
      const answer = await fetch(`http://127.0.0.1:${member.kubelet.pods.at(-1)?.findPort(8080)}/readyz`)
      const said = (await answer.json()) as { ready: boolean; problem?: { code: string; message: string } }
      see(said)
      return said.problem?.code === code && pattern.test(said.problem.message) && said.problem
    },
    { timeoutMs: 60_000, intervalMs: 200, logs: [member.kubelet, fleet.hub] },
  )
  expect(member.kubelet.process.readLog()).toContain(problem.message)
  return problem.message
}

/** The public key that the hub obeys for a cluster. */
const keyOf = (name: string) => fleet.query('select public_key from clusters where name = ?', name)[0]?.public_key

describe('a join token', () => {
  test('that was used before makes no second agent, which says so; the first stays connected', async () => {
    const before = keyOf('eu')
    await tryToJoin(thief, eu.installCommand)
    expect(await waitForProblem(thief, 'JoinTokenRefused')).toMatch(
      /^the hub at 127\.0\.0\.1:\d+ refuses: the join token is unknown, already used, or expired; make a new one with: fairlead cluster token <name>$/,
    )
    expect(refusals()).toContain('used eu')
    expect(thief.kubelet.pods.map(({ ready }) => ready)).toEqual([false])
    expect(keyOf('eu')).toBe(before)
    expect(connectionOf(await fleet.status(), 'eu')).toBe('ONLINE')
    await waitUntilRunning(shop.commit({ 'web/config.yaml': configMap('web', { a: '2' }) }))
    expect(await thief.cluster.admin.find(web)).toBeUndefined()
  })

  test('that has expired is refused', async () => {
    const tooShort = await fleet.run('cluster', 'register', 'late', '--ttl', '30s')
    expect(tooShort).toMatchObject({ code: 2, stdout: '' })
    expect(tooShort.stderr).toMatch(/between 1m and 7d/)
    const printed = await fleet.cli('cluster', 'register', 'late', '--ttl', '1m')
    letTokensExpire('late')
    await tryToJoin(thief, printed)
    await waitForProblem(thief, 'JoinTokenRefused')
    await waitFor('the refusal to be on record', () => refusals().includes('expired late'))
    expect(keyOf('late')).toBeNull()
  })

  test('of another hub is refused, and so is another hub, with both pins in words', async () => {
    await using other = await startFleet()
    const printed = await other.cli('cluster', 'register', 'eu')
    const [, pin = ''] = /hub\.caPin=(\S+)/.exec(printed) ?? []
    const [, ownPin = ''] = /hub\.caPin=(\S+)/.exec(eu.installCommand) ?? []
    expect(pin).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(pin).not.toBe(ownPin)
    // Its token at our hub.
    await tryToJoin(thief, printed, [`hub.caPin=${ownPin}`])
    await waitForProblem(thief, 'JoinTokenRefused')
    await waitFor('the refusal to be on record', () => refusals().includes('unknown'))
    // Our hub in its place, as somebody in the middle would: no token is sent.
    const before = refusals().length
    await tryToJoin(thief, printed)
    const message = await waitForProblem(thief, 'CaPinMismatch')
    expect(message).toContain(`presents a CA with pin ${ownPin}, but the pin that was given is ${pin}`)
    expect(refusals()).toHaveLength(before)
  })
})

/** Has the time of a cluster's tokens run out: the least is a minute, which no test should wait. */
function letTokensExpire(cluster: string): void {
  const database = new DatabaseSync(path.join(fleet.dataDir, 'fairlead.db'))
  const sql = `update join_tokens set expires_at = expires_at - 60000
    where cluster_id = (select id from clusters where name = ?)`
  expect(database.prepare(sql).run(cluster).changes).toBe(1)
  database.close()
}

describe('clusters whose names begin alike', () => {
  const names = ['c1', 'c10', 'c1-a']

  test('have ids of their own, and no key renews for another', async () => {
    const joined = await Promise.all(
      names.map(async (name) => {
        const key = createNkey('U')
        const token = await fleet.cli('cluster', 'register', name, '--token-only')
        return { key, ...(await join(token.trim(), key)) }
      }),
    )
    expect(joined.map(({ clusterName }) => clusterName)).toEqual(names)
    expect(new Set(joined.map(({ clusterId }) => clusterId)).size).toBe(3)
    for (const { clusterId } of joined) expect(clusterId).toMatch(CLUSTER_ID_PATTERN)
    for (const { key } of joined) {
      for (const { clusterId, key: own } of joined) {
        const expected = key === own ? 'OK' : 'PERMISSION_DENIED'
        expect(await statusOf(renew(clusterId, key))).toBe(expected)
      }
    }
    await fleet.cli('cluster', 'remove', 'c1', '--yes')
    const left = (await fleet.status()).clusters.map(({ name }) => name)
    expect(left).toEqual(expect.arrayContaining(['c10', 'c1-a']))
    expect(left).not.toContain('c1')
    const [removed, ...others] = joined
    if (!removed) throw new Error('nothing joined')
    expect(await statusOf(renew(removed.clusterId, removed.key))).toBe('PERMISSION_DENIED')
    for (const { clusterId, key } of others) expect(await statusOf(renew(clusterId, key))).toBe('OK')
  })

  test.each(['a.b', '*', '>', 'c1.>', 'üni', 'с1', 'Prod', 'c 1', 'c1/..', `${'c'.repeat(64)}`])(
    'are not made with the name %j, in words',
    async (name) => {
      const before = fleet.query('select name from clusters')
      const { code, stdout, stderr } = await fleet.run('cluster', 'register', name)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toContain(`the cluster name ${JSON.stringify(name)} is not a valid name: use lower-case letters`)
      expect(fleet.query('select name from clusters')).toEqual(before)
    },
  )
})

async function renew(clusterId: string, { publicKey, sign }: Nkey): Promise<unknown> {
  const { challenge } = await enrolment.getChallenge(create(GetChallengeRequestSchema))
  const proof = sign(renewProofBytes(clusterId, publicKey, challenge))
  return await enrolment.renew(create(RenewRequestSchema, { clusterId, publicKey, challenge, proof }))
}

describe('a new token for a cluster', () => {
  test('moves its identity to whoever uses it, and the old key is refused from then on', async () => {
    const [key, live] = [keyOf('eu'), await eu.cluster.admin.get(web)]
    await tryToJoin(thief, await fleet.cli('cluster', 'token', 'eu'), ['heartbeatSeconds=1'])
    await thief.kubelet.waitUntilReady({ timeoutMs: 60_000 })
    expect(keyOf('eu')).not.toBe(key)
    await waitForProblem(eu, 'IdentityRevoked', /this cluster's key was replaced.*fairlead cluster token/)
    await waitUntilRunning(shop.commit({ 'web/config.yaml': configMap('web', { a: '3' }) }))
    expect(await thief.cluster.admin.get(web)).toMatchObject({ data: { a: '3' } })
    expect(connectionOf(await fleet.status(), 'eu')).toBe('ONLINE')
    // What ran under the old key runs on, untouched.
    expect(await eu.cluster.admin.get(web)).toEqual(live)
  })
})

describe('a cluster that is removed', () => {
  test('is disconnected within a second, says so, and keeps its workloads', async () => {
    const live = await thief.cluster.admin.get(web)
    expect(thief.natsProxy.open).toBe(1)
    await fleet.cli('cluster', 'remove', 'eu', '--yes')
    await waitFor('the agent to be disconnected', () => thief.natsProxy.open === 0, {
      timeoutMs: 1_000,
      logs: [thief.kubelet, fleet.hub],
    })
    await waitForProblem(thief, 'IdentityRevoked', /this cluster was removed/)
    expect(await thief.cluster.admin.get(web)).toEqual(live)
  })
})

/** Tries a token that nobody has made. Returns the gRPC status and what the hub says. */
async function guess(key: Nkey): Promise<{ status: string; details: string }> {
  const random = Buffer.from(crypto.getRandomValues(new Uint8Array(32)))
  try {
    await join(`flj_${random.toString('base64url')}`, key)
    return { status: 'OK', details: '' }
  } catch (error) {
    const { code, details } = error as grpc.ServiceError
    return { status: grpc.status[code] ?? String(code), details }
  }
}

describe('tokens that are guessed a thousand times', () => {
  test('are limited and counted, and administrators are answered meanwhile', async () => {
    const before = refusals().length
    const key = createNkey('U')
    const guesses = async (): Promise<string[]> => {
      const statuses: string[] = []
      for (let round = 0; round < 20; round++) {
        const answers = await Promise.all(Array.from({ length: 50 }, () => guess(key)))
        statuses.push(...answers.map(({ status }) => status))
      }
      return statuses
    }
    const [statuses, answer] = await Promise.all([guesses(), fleet.run('status')])
    expect(answer.code).toBe(0)
    const counts = Object.groupBy(statuses, (status) => status)
    expect(Object.keys(counts).sort()).toEqual(['RESOURCE_EXHAUSTED', 'UNAUTHENTICATED'])
    // Ten a minute; the window may have turned once meanwhile.
    expect(counts.UNAUTHENTICATED?.length).toBeLessThanOrEqual(20)
    // Only those were looked up and written down.
    expect(refusals().length - before).toBe(counts.UNAUTHENTICATED?.length)
    const [, counted] = /(\d+) join tokens refused/.exec(await fleet.cli('version')) ?? []
    expect(Number(counted)).toBeGreaterThanOrEqual(1_000)
  })

  test('keep an honest agent behind the same address waiting, which it says, and then let it in by itself', async () => {
    const key = createNkey('U')
    // Early in a minute, so that the agent comes in the same one.
    await waitFor(
      'the door to be shut for a while',
      async () => Number(/wait (\d+) s/.exec((await guess(key)).details)?.[1]) > 30,
      {
        timeoutMs: 60_000,
        intervalMs: 200,
      },
    )
    await tryToJoin(thief, await fleet.cli('cluster', 'register', 'honest'))
    expect(await waitForProblem(thief, 'TooManyAttempts')).toMatch(/too many wrong join tokens were tried; wait \d+ s/)
    const isOnline = (status: FleetStatus): boolean => connectionOf(status, 'honest') === 'ONLINE'
    await fleet.waitForStatus('the honest cluster to join', isOnline, { timeoutMs: 100_000, intervalMs: 500 })
  })
})
