// Leader election on a real API server: hand-over, death, fencing, clocks that are off, and what it costs.
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { startProxy, type TcpProxy } from '@fairlead/e2e/harness/proxy'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type ApiServerAccess, kubeconfigAccess } from '../kube/access.ts'
import { CONFIG_MAPS } from '../kube/core-kinds.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import type { ElectionTiming } from './election.ts'
import { LEASE_NAME, LeaderElection } from './leader-election.ts'

/** As in production, a quarter as long. */
const timing: ElectionTiming = { leaseMs: 3_000, deadlineMs: 2_000, renewMs: 750 }

let cluster: Cluster
let namespace = ''
let count = 0
const candidates: Candidate[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'leader' })
})
afterAll(() => cluster?.stop())
beforeEach(async () => {
  namespace = `lead-${++count}`
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
})
afterEach(async () => {
  await Promise.all(candidates.splice(0).map(async (candidate) => await candidate.end()))
})

interface CandidateOptions {
  /** Default the API server itself. */
  readonly server?: string
  readonly times?: ElectionTiming
}

/** One candidate, with what happened to it. */
class Candidate {
  readonly identity: string
  readonly kube: Kube
  readonly election: LeaderElection
  readonly happened: string[] = []
  readonly #stop = new AbortController()
  readonly #running: Promise<void>

  private constructor(identity: string, kubeconfig: ApiServerAccess, times: ElectionTiming) {
    this.identity = identity
    this.kube = createKube({
      access: kubeconfig,
      userAgent: `candidate-${namespace}-${identity}`,
      logger: silentLogger,
      mayWrite: () => this.election.mayWrite(),
    })
    this.election = new LeaderElection({
      kube: this.kube,
      namespace,
      identity,
      timing: times,
      onAcquired: () => this.happened.push('acquired'),
      onLost: () => this.happened.push('lost'),
      logger: silentLogger,
    })
    this.#running = this.election.run(this.#stop.signal)
    candidates.push(this)
  }

  static async start(identity: string, { server, times = timing }: CandidateOptions = {}): Promise<Candidate> {
    const file = cluster.writeKubeconfig(`${namespace}-${identity}`, server === undefined ? {} : { server })
    return new Candidate(identity, await kubeconfigAccess(file), times)
  }

  async leads(timeoutMs = 15_000): Promise<void> {
    await waitFor(`${this.identity} to lead`, () => this.election.isLeader && this.election.mayWrite(), {
      timeoutMs,
      intervalMs: 2,
    })
  }

  async informed(): Promise<void> {
    await waitFor(`${this.identity} to know the Lease`, () => this.election.holder !== '')
  }

  /** Ends as a process does that is told to. */
  async release(): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.election.release()
  }

  /** Ends as a process does that is killed. */
  async end(): Promise<void> {
    this.#stop.abort()
    await this.kube.close()
    await this.#running
  }

  async write(): Promise<void> {
    const target = { namespace, name: 'written' }
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: target, data: { by: this.identity } }
    await this.kube.apply(CONFIG_MAPS, target, body, { timeoutMs: 1_000 })
  }

  /** Writes of the Lease, as the API server heard of them. */
  writes() {
    return this.requests(0).filter(({ verb, resource }) => writeVerbs.includes(verb) && resource === 'leases')
  }

  /** Requests but for watches. */
  requests(since: number) {
    const found = cluster.auditLog({ userAgent: `candidate-${namespace}-${this.identity}`, since })
    return found.filter(({ verb }) => verb !== 'watch')
  }
}

const lease = () => ({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { namespace, name: LEASE_NAME } })

/** The Lease as some other holder writes it, whose clock shows this. */
async function writeLease(holder: string, clockMs: number): Promise<void> {
  const renewTime = new Date(clockMs).toISOString().replace('Z', '000Z')
  await cluster.admin.apply({
    ...lease(),
    spec: { holderIdentity: holder, leaseDurationSeconds: 3, renewTime },
  } as never)
}

test('when the leader gives the lead back the stand-by has it at once, and nobody had it meanwhile', async () => {
  // Without being given back, the lead would go over after longer than anybody waits here.
  const times = { ...timing, leaseMs: 60_000 }
  const first = await Candidate.start('first', { times })
  await first.leads()
  const second = await Candidate.start('second', { times })
  await second.informed()
  expect(second.election.mayWrite()).toBe(false)
  await first.release()
  expect(first.election.mayWrite()).toBe(false)
  await second.leads()
  expect(second.happened).toEqual(['acquired'])
  const { spec } = (await cluster.admin.get(lease())) as { spec?: Record<string, unknown> }
  expect(spec).toMatchObject({ holderIdentity: 'second', leaseTransitions: 2 })
})

test('a leader that dies without a word is replaced after the lease, not sooner', async () => {
  const first = await Candidate.start('first')
  await first.leads()
  const second = await Candidate.start('second')
  await second.informed()
  await first.end()
  await second.leads()
  // By the API server's clock, which no slow test shifts; a timer may be a millisecond early.
  const renewed = first.writes().at(-1)?.receivedAt ?? Number.NaN
  const taken = second.writes().find(({ code }) => code === 200)?.receivedAt ?? Number.NaN
  expect(taken - renewed).toBeGreaterThan(timing.leaseMs - 10)
})

test('a leader that is cut off stops before another begins, refuses to write, and stands by when it is back', async () => {
  await using proxy: TcpProxy = await startProxy({ port: cluster.port })
  const first = await Candidate.start('first', { server: `https://${proxy.address}` })
  await first.leads()
  await first.write()
  const second = await Candidate.start('second')
  await second.informed()
  // Packets are dropped: connections stay open and nothing comes.
  proxy.freeze()
  await waitFor('the first to stop', () => !first.election.mayWrite(), { intervalMs: 2 })
  expect(second.election.isLeader).toBe(false)
  await expect(first.write()).rejects.toMatchObject({ code: 'ApiServerUnavailable' })
  await second.leads()
  await second.write()
  await proxy.restore()
  await waitFor('the first to know', () => first.election.holder === 'second', { timeoutMs: 20_000 })
  expect(first.happened).toEqual(['acquired', 'lost'])
  expect(first.election.mayWrite()).toBe(false)
  expect(second.election.mayWrite()).toBe(true)
  await expect(first.write()).rejects.toThrow('it is not certain')
  const { data } = (await cluster.admin.get({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace, name: 'written' },
  })) as { data?: Record<string, string> }
  expect(data).toEqual({ by: 'second' })
})

test('an API server that is away longer than the deadline ends the term; afterwards exactly one leads', async () => {
  const first = await Candidate.start('first')
  await first.leads()
  const second = await Candidate.start('second')
  await second.informed()
  cluster.pauseApiServer()
  try {
    await waitFor('the leader to stop', () => first.happened.includes('lost'), { timeoutMs: 10_000 })
    expect(first.election.mayWrite()).toBe(false)
    expect(second.election.mayWrite()).toBe(false)
  } finally {
    cluster.resumeApiServer()
  }
  await waitFor(
    'one to lead',
    () => [first, second].filter(({ election }) => election.isLeader && election.mayWrite()).length === 1,
    { timeoutMs: 20_000 },
  )
})

test.each([
  ['ahead', 3_600_000],
  ['behind', -3_600_000],
])(
  'a leader whose clock is an hour %s keeps the lead as long as it renews, and loses it when it stops',
  async (_, offMs) => {
    await writeLease('other', Date.now() + offMs)
    const candidate = await Candidate.start('candidate')
    await candidate.informed()
    const until = performance.now() + 2 * timing.leaseMs
    await waitFor(
      'two leases to pass',
      async () => {
        await writeLease('other', Date.now() + offMs)
        expect(candidate.election.isLeader).toBe(false)
        return performance.now() > until
      },
      { timeoutMs: 3 * timing.leaseMs, intervalMs: timing.renewMs },
    )
    const stoppedAt = performance.now()
    await candidate.leads()
    expect(performance.now() - stoppedAt).toBeGreaterThan(timing.leaseMs - 1_000)
  },
)

test('a Lease taken away by hand ends the term at once, and one deleted by hand is made again by its holder', async () => {
  const first = await Candidate.start('first')
  await first.leads()
  const second = await Candidate.start('second')
  await second.informed()
  await cluster.admin.delete(lease())
  await waitFor('the Lease to be there again', async () => {
    const found = await cluster.admin.find(lease())
    return getField(found, 'spec.holderIdentity') === 'first'
  })
  expect(first.happened).toEqual(['acquired'])
  expect(second.election.isLeader).toBe(false)
  await cluster.admin.patch(lease(), { spec: { holderIdentity: 'somebody' } }, { type: 'merge' })
  await waitFor('the first to stop', () => first.happened.includes('lost'), { intervalMs: 2 })
  expect(first.election.mayWrite()).toBe(false)
})

test('a stand-by asks nothing besides its open watch, and a leader only renews', async () => {
  const first = await Candidate.start('first')
  await first.leads()
  const second = await Candidate.start('second')
  await second.informed()
  const since = Date.now()
  const renewals = () => first.requests(since).filter(({ verb }) => verb === 'update').length
  await waitFor('five renewals', () => renewals() >= 5, { timeoutMs: 15_000 })
  expect(second.requests(since)).toEqual([])
  expect(new Set(first.requests(since).map(({ verb }) => verb))).toEqual(new Set(['update']))
  expect(renewals()).toBeLessThanOrEqual(Math.ceil((Date.now() - since) / timing.renewMs) + 1)
})
