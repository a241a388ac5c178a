// kill -9 of every part at every step of a commit's way: afterwards everything converges, and nothing was lost, left over
// or deleted wrongly.
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { writeVerbs } from '../harness/audit.ts'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { FleetCluster } from '../harness/fleet-cluster.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { getField, type KubeObject, type WatchEvent } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { problemsOf, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, repositoryDefinition } from './manifests.ts'

/** Objects that stay declared from the first commit to the last. */
const STAYING = 150
/** Objects that come and go; fewer than a hundred and than half of all, as dropping more at once is held by a guard. */
const EXTRAS = 90
/** So many objects in, a batch is in the middle. */
const MIDDLE = 15
const QUIET_MS = 5_000

let fleet: Fleet
let eu: FleetCluster
let shop: GitRepository
/** What Git declares for the application `crowd`: names, and the value of each one's only key. */
let declared = new Map<string, string>()
/** Everything that was there before a case and must be there, the same object, after it. */
let before: KubeObject[]
let caseBeganAt: number
let round = 0
const cleanUps: (() => void)[] = []

const numbered = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${name}-${String(index).padStart(3, '0')}`)
const staying = numbered('staying', STAYING)
const extras = numbered('extra', EXTRAS)
const allConfigMaps = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default' } }

beforeAll(async () => {
  fleet = await startFleet()
  shop = fleet.git.createRepository('shop')
  declared = new Map(staying.map((name) => [name, 'first']))
  shop.commit({ 'crowd/all.yaml': formatCrowd(), 'still/all.yaml': configMap('still', { a: '1' }) })
  eu = await fleet.addCluster('eu', { agentValues: ['heartbeatSeconds=1'], apiServerDelayMs: 30 })
  await eu.cluster.admin.create(JSON.parse(configMap('stranger', { mine: 'yes' }, 'default')))
  const target = { repository: 'shop', namespace: 'default' }
  await fleet.apply(
    repositoryDefinition('shop', shop.url) +
      applicationDefinition('crowd', target) +
      applicationDefinition('still', target),
  )
  await waitUntilRunning('crowd', shop.head())
  await waitUntilRunning('still', shop.head())
})

beforeEach(async () => {
  before = await eu.cluster.admin.list(allConfigMaps)
  caseBeganAt = Date.now()
  round++
})

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp()
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

const formatCrowd = (): string => [...declared].map(([name, value]) => configMap(name, { v: value })).join('---\n')

async function waitUntilRunning(application: string, commit: string): Promise<void> {
  await fleet.waitForStatus(
    `${application} to run at ${commit.slice(0, 8)}`,
    (status) => runs(status, application, 'eu', commit) && problemsOf(status, application).length === 0,
    { timeoutMs: 60_000 },
  )
}

/** Pushes what is declared and has the hub look. Returns the commit. */
async function push(): Promise<string> {
  const commit = shop.commit({ 'crowd/all.yaml': formatCrowd() })
  await fleet.cli('repository', 'refresh', 'shop')
  return commit
}

/** A few objects changed, one dropped, one new. */
function changeFew(): void {
  for (const name of staying.slice(0, 10)) declared.set(name, `round ${round}`)
  declared.delete(`turn-${round - 1}`)
  declared.set(`turn-${round}`, 'new')
}

/** What the database has decided for the cluster, and how much of it NATS has not acknowledged. */
function readHub(): { generation: number; unpublished: number } {
  const [row] = fleet.query(
    'select (select max(generation) from slices) as generation, (select count(*) from outbox) as unpublished',
  )
  return { generation: Number(row?.generation ?? 0), unpublished: Number(row?.unpublished ?? 0) }
}

/** Waits until the hub has signed a newer slice, and NATS has it or does not have it yet. */
async function waitForSlice(after: number, isPublished: boolean): Promise<void> {
  await waitFor(
    `a newer slice that is ${isPublished ? '' : 'not '}published`,
    (see) => {
      const hub = readHub()
      see(hub)
      return hub.generation > after && hub.unpublished > 0 !== isPublished
    },
    { timeoutMs: 30_000, logs: [fleet.hub] },
  )
}

/** Resolves as soon as so many ConfigMaps have seen such an event, counted from the call of the returned function. */
async function watchFor(isCounted: (event: WatchEvent) => boolean): Promise<() => Promise<void>> {
  const stop = new AbortController()
  cleanUps.push(() => stop.abort())
  const listed = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  const [seen, counted] = [new Set<string>(), new Set<string>()]
  const read = async (): Promise<void> => {
    for await (const event of eu.cluster.admin.watch(allConfigMaps, stop.signal)) {
      seen.add(event.object.metadata.name)
      if (before.every(({ metadata }) => seen.has(metadata.name))) listed.resolve()
      if (isCounted(event)) counted.add(event.object.metadata.name)
      if (counted.size >= MIDDLE) reached.resolve()
    }
  }
  // The API server may be killed under it; and once the middle is reached nobody asks any more.
  read().catch(reached.reject)
  reached.promise.catch(() => undefined)
  await listed.promise
  return async () => {
    await waitFor(
      `${MIDDLE} objects to be done`,
      () => Promise.race([reached.promise.then(() => true), delay(20_000)]),
      {
        timeoutMs: 30_000,
        logs: [fleet.hub, eu.kubelet],
      },
    )
    stop.abort()
  }
}

/** Brings a commit to a moment of its way. Resolves there, with the commit and what lets it go on after the kill. */
type Moment = () => Promise<{ commit: string; goOn?: () => unknown }>

const moments: Readonly<Record<string, Moment>> = {
  'before the hub has published it': async () => {
    const { generation } = readHub()
    changeFew()
    const goOn = fleet.pauseNats()
    cleanUps.push(goOn)
    const commit = await push()
    await waitForSlice(generation, false)
    return { commit, goOn }
  },
  'after the hub has published it': async () => {
    const { generation } = readHub()
    changeFew()
    // The agent must not be quicker.
    eu.natsProxy.freeze()
    const goOn = () => eu.natsProxy.restore()
    cleanUps.push(goOn)
    const commit = await push()
    await waitForSlice(generation, true)
    return { commit, goOn }
  },
  'in the middle of applying it': async () => {
    for (const name of [...staying, ...extras]) declared.set(name, `round ${round}`)
    const reachMiddle = await watchFor(({ object }) => getField(object, 'data.v') === `round ${round}`)
    const commit = await push()
    await reachMiddle()
    return { commit }
  },
  'in the middle of pruning after it': async () => {
    for (const name of extras) declared.delete(name)
    const reachMiddle = await watchFor(({ type }) => type === 'DELETED')
    const commit = await push()
    await reachMiddle()
    return { commit }
  },
}

/** Kills, lets the commit go on, and has what was killed started again as it is in real life. */
type Kill = (goOn: () => unknown) => Promise<void>

const victims: Readonly<Record<string, Kill>> = {
  'the hub': async (goOn) => {
    await fleet.hub.kill()
    await goOn()
    await fleet.startHub()
  },
  NATS: async (goOn) => {
    await fleet.killNats()
    await goOn()
  },
  'the agent': async (goOn) => {
    await eu.kubelet.kill()
    await goOn()
  },
  'the API server': async (goOn) => {
    await eu.cluster.killApiServer()
    await goOn()
    await eu.cluster.restartApiServer()
  },
}

function listAgentWrites() {
  return eu.agentRequests({ since: caseBeganAt, verbs: writeVerbs })
}

/** Fails unless the agent comes to rest soon. */
async function waitUntilQuiet(): Promise<void> {
  await waitFor(
    `${QUIET_MS} ms without a write of the agent`,
    (see) => {
      const last = listAgentWrites().at(-1)
      see(last)
      return Date.now() - (last?.receivedAt ?? caseBeganAt) > QUIET_MS
    },
    { timeoutMs: QUIET_MS + 5_000, intervalMs: 200, logs: [eu.kubelet] },
  )
}

/** Exactly what is declared is there; what was there and is still declared is the same object; nothing else was touched. */
async function expectNothingWrong(): Promise<void> {
  const live = await eu.cluster.admin.list(allConfigMaps)
  const others = ['still', 'stranger']
  const ours = live.filter(({ metadata: { name } }) => !others.includes(name))
  const values = ours.map(({ metadata: { name }, data }) => `${name}: ${JSON.stringify(data)}`)
  expect(values.sort()).toEqual([...declared].map(([name, v]) => `${name}: ${JSON.stringify({ v })}`).sort())
  const identities = new Map(live.map(({ metadata }) => [metadata.name, metadata]))
  const isRemade = ({ metadata: { name, uid } }: KubeObject): boolean =>
    declared.has(name) && identities.get(name)?.uid !== uid
  expect(before.filter(isRemade).map(({ metadata }) => metadata.name)).toEqual([])
  for (const name of others) {
    const { uid, resourceVersion } = before.find(({ metadata }) => metadata.name === name)?.metadata ?? {}
    expect(identities.get(name)).toMatchObject({ uid, resourceVersion })
  }
  const deletes = listAgentWrites().filter(({ verb, resource }) => verb.startsWith('delete') && resource !== 'secrets')
  const wrong = deletes.filter(({ namespace, name }) => namespace !== 'default' || declared.has(name) || name === '')
  expect(wrong.map(({ requestURI }) => requestURI)).toEqual([])
}

/** Every victim at every moment, in turns: killed too often in a row, each would rightly be started again ever later. Pruning always follows applying. */
const cases = Object.keys(victims).flatMap((_, turn) =>
  Object.entries(moments).map(([moment, reach], index) => {
    const [victim, kill] = Object.entries(victims).at((index + turn) % 4) as [string, Kill]
    return { victim, moment, reach, kill }
  }),
)

describe('a commit survives', () => {
  test.each(cases)('kill -9 of $victim $moment', async ({ reach, kill }) => {
    const { commit, goOn = () => undefined } = await reach()
    const killedAt = Date.now()
    await kill(goOn)
    await waitUntilRunning('crowd', commit)
    await waitUntilRunning('still', commit)
    await waitUntilQuiet()
    await expectNothingWrong()
    const late = listAgentWrites().filter(
      ({ namespace, receivedAt }) => namespace === 'default' && receivedAt > killedAt,
    )
    expect(late, 'the kill came when all was done').not.toEqual([])
  })
})
