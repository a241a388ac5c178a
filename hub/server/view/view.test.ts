import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { ConnectionState, HealthState, SyncState } from '@fairlead/proto/common'
import { HeartbeatSchema, ReportSchema } from '@fairlead/proto/report'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openStore, type Store } from '../store/store.ts'
import { createFleetView, type FleetView } from './view.ts'

const START_MS = 1_800_000_000_000
const thresholds = { staleAfterMs: 45_000, offlineAfterMs: 300_000 }
const revision = { repository: 'shop', ref: 'main', commit: 'c1' }

let directory: string
let store: Store
let view: FleetView
let nowMs: number

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-view-'))
  store = await openStore(join(directory, 'fairlead.db'), { logger: silentLogger })
  nowMs = START_MS
  await addCluster('c1')
  await addApplication('web')
  await deploy('c1', 'web')
  view = await loadView()
})

afterEach(async () => {
  await view.stop()
  await store.close()
  rmSync(directory, { recursive: true })
})

async function loadView(): Promise<FleetView> {
  const loaded = createFleetView({ store, thresholds, logger: silentLogger, clock: () => nowMs })
  await loaded.load()
  return loaded
}

async function addCluster(name: string, joinedAtMs: number | null = START_MS - 1_000): Promise<void> {
  await store.db
    .insertInto('clusters')
    .values({ id: `id-${name}`, name, labels: '{}', created_at: 1, joined_at: joinedAtMs })
    .execute()
}

async function addApplication(name: string): Promise<void> {
  const spec = JSON.stringify({ source: { repository: 'shop' }, placement: { clusters: {} } })
  await store.db
    .insertInto('applications')
    .values({ name, uid: name, generation: 1, labels: '{}', spec, created_at: 1 })
    .execute()
}

async function deploy(cluster: string, application: string, digest = 'd1'): Promise<void> {
  const artifact = { digest, reference: new Uint8Array(), created_at: 1 }
  await store.db
    .insertInto('artifacts')
    .values(artifact)
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  await store.db
    .replaceInto('deployments')
    .values({
      cluster_id: `id-${cluster}`,
      application,
      state: 'desired',
      prune: 0,
      artifact_digest: digest,
      revision: JSON.stringify(revision),
      since: 1,
    })
    .execute()
}

const synced = (application = 'web') => ({
  application,
  revision,
  artifactDigest: 'd1',
  sync: SyncState.SYNCED,
  health: HealthState.HEALTHY,
})

const report = (sequence: number, change: MessageInitShape<typeof ReportSchema> = {}) =>
  create(ReportSchema, { session: 's', sequence: BigInt(sequence), ...change })

const say = (sequence: number, change: MessageInitShape<typeof ReportSchema> = {}, cluster = 'c1') =>
  view.applyReport(`id-${cluster}`, report(sequence, change), nowMs)

const beat = (reportSequence: number, session = 's') =>
  view.heartbeat('id-c1', create(HeartbeatSchema, { session, reportSequence: BigInt(reportSequence) }), nowMs)

const deployment = () => view.status().deployments[0]
const connection = () => view.getCluster('c1').connection

describe('a report', () => {
  test('is shown with the revision, sync and health that the agent speaks of', () => {
    expect(deployment()).toMatchObject({ sync: SyncState.UNKNOWN, health: HealthState.UNKNOWN })
    expect(say(1, { full: true, applications: [synced()] })).toEqual({ gap: false })
    expect(deployment()).toMatchObject({
      application: 'web',
      cluster: 'c1',
      sync: SyncState.SYNCED,
      health: HealthState.HEALTHY,
      desired: revision,
      live: revision,
      reportedAt: { seconds: BigInt(START_MS / 1_000) },
    })
  })

  test('of an older artifact shows as OutOfSync as soon as a newer one is desired', async () => {
    say(1, { full: true, applications: [synced()] })
    await deploy('c1', 'web', 'd2')
    await view.refresh(['id-c1'])
    expect(deployment()).toMatchObject({ sync: SyncState.OUT_OF_SYNC })
  })

  test('is remembered across a restart of the hub, and so is what was read of the sequence', async () => {
    say(1, { full: true, applications: [synced()], sliceGeneration: 5n, refusals: { signature: 2n } })
    say(2, { applications: [{ ...synced(), remediations: 3n }] })
    const before = view.status()
    await view.stop()
    view = await loadView()
    expect(view.status()).toEqual(before)
    expect(say(2, { applications: [] })).toEqual({ gap: false })
    expect(say(3)).toEqual({ gap: false })
    expect(view.status().deployments[0]?.report?.remediations).toBe(3n)
  })

  test('that was missed is noticed by the next report, by the next heartbeat, and until a full one comes', () => {
    say(1, { full: true })
    expect(say(2)).toEqual({ gap: false })
    expect(say(4)).toEqual({ gap: true })
    expect(say(5)).toEqual({ gap: true })
    expect(beat(5)).toEqual({ gap: true })
    expect(say(6, { full: true })).toEqual({ gap: false })
    expect(beat(6)).toEqual({ gap: false })
    expect(beat(7)).toEqual({ gap: true })
    expect(beat(1, 'another process')).toEqual({ gap: true })
  })

  test('of another process of the agent must be a full one', () => {
    say(7, { full: true, applications: [synced()] })
    nowMs += 1_000
    expect(say(1, { session: 't' })).toEqual({ gap: true })
    expect(say(2, { session: 't', full: true })).toEqual({ gap: false })
    // What the earlier process said last arrives late and changes nothing.
    expect(view.applyReport('id-c1', report(8, { applications: [synced()] }), nowMs - 500)).toEqual({ gap: false })
    expect(deployment()).toMatchObject({ sync: SyncState.UNKNOWN })
  })

  test('that comes twice or late changes nothing', () => {
    say(1, { full: true, applications: [synced()] })
    say(2, { applications: [{ ...synced(), sync: SyncState.OUT_OF_SYNC }] })
    say(1, { full: true, applications: [synced()] })
    say(2, { applications: [synced()] })
    expect(deployment()).toMatchObject({ sync: SyncState.OUT_OF_SYNC })
  })

  test('that is full and does not list an application forgets what was said of it, also on disk', async () => {
    say(1, { full: true, applications: [synced()] })
    say(2, { full: true })
    expect(deployment()).toMatchObject({ sync: SyncState.UNKNOWN })
    await view.stop()
    view = await loadView()
    expect(deployment()).toMatchObject({ sync: SyncState.UNKNOWN })
  })

  test('of a removal is not taken for the state of the same application when it comes back', async () => {
    say(1, { full: true, applications: [synced()] })
    say(2, { removed: ['web'] })
    await store.db.deleteFrom('deployments').execute()
    await view.refresh(['id-c1'])
    expect(view.status().deployments).toEqual([])
    await deploy('c1', 'web')
    await view.refresh(['id-c1'])
    expect(deployment()).toMatchObject({ sync: SyncState.UNKNOWN })
  })

  test('of an unknown cluster or application shows nowhere and does no harm', async () => {
    expect(say(1, { full: true }, 'unknown')).toEqual({ gap: false })
    const names = Array.from({ length: 3_000 }, (_, index) => `made-up-${index}`)
    say(1, { full: true, applications: [...names.map(synced), synced()] })
    expect(view.status().deployments).toMatchObject([{ application: 'web', sync: SyncState.SYNCED }])
    await view.stop()
    const rows = await store.db.selectFrom('application_reports').select('application').execute()
    expect(rows.length).toBeLessThanOrEqual(1_001)
    view = await loadView()
  })

  test('changes neither the name nor the labels of its cluster, whatever it says', async () => {
    const facts = { agentVersion: 'x'.repeat(10_000), kubernetesVersion: 'v1', clusterUid: 'u' }
    say(1, { full: true, facts })
    expect(view.getCluster('c1')).toMatchObject({ name: 'c1', labels: {}, facts: { agentVersion: 'x'.repeat(200) } })
    await view.stop()
    const row = await store.db.selectFrom('clusters').select(['name', 'labels', 'facts']).executeTakeFirstOrThrow()
    expect(row).toMatchObject({ name: 'c1', labels: '{}' })
    expect(JSON.parse(row.facts ?? '')).toMatchObject({ kubernetesVersion: 'v1' })
    view = await loadView()
  })

  test('has what it serves stored once for all that serve the same, and told when it changes', async () => {
    await addCluster('c2')
    await view.stop()
    let told = 0
    const reload = async (): Promise<void> => {
      view = createFleetView({
        store,
        thresholds,
        logger: silentLogger,
        clock: () => nowMs,
        onCapabilities: () => told++,
      })
      await view.load()
    }
    await reload()
    const facts = (served: { apiVersion: string; kinds: string[] }[]) => ({ kubernetesVersion: 'v1.36.3', served })
    const serve = (id: string, sequence: number, kinds: string[]): void => {
      const served = kinds.length > 0 ? [{ apiVersion: 'v1', kinds }] : []
      const report = { session: 's', sequence: BigInt(sequence), full: true, facts: facts(served) }
      view.applyReport(id, create(ReportSchema, report), nowMs)
    }
    const digests = async () => {
      await view.stop()
      const clusters = await store.db.selectFrom('clusters').select('capabilities').orderBy('name').execute()
      const stored = await store.db.selectFrom('capabilities').select('digest').execute()
      await reload()
      return { clusters: clusters.map(({ capabilities }) => capabilities), stored: stored.map(({ digest }) => digest) }
    }
    serve('id-c1', 1, ['Pod'])
    serve('id-c2', 1, ['Pod'])
    const first = await digests()
    expect(first.stored).toEqual([first.clusters[0]])
    expect(first.clusters[1]).toBe(first.clusters[0])
    expect(told).toBe(1)
    // What is not said, because it could not be read, changes nothing.
    serve('id-c1', 2, [])
    serve('id-c2', 2, ['Pod'])
    expect(await digests()).toEqual(first)
    expect(told).toBe(1)
    serve('id-c1', 3, ['Pod', 'Secret'])
    serve('id-c2', 3, ['Pod', 'Secret'])
    const last = await digests()
    expect(last.stored).toHaveLength(1)
    expect(last.stored).not.toEqual(first.stored)
    expect(last.clusters).toEqual([last.stored[0], last.stored[0]])
    expect(told).toBe(2)
    expect(view.getCluster('c1').facts?.served).toEqual([])
  })

  test('survives a cluster that is removed before it is stored', async () => {
    await addCluster('c2')
    await view.refresh([])
    say(1, { full: true, applications: [synced()] })
    view.applyReport('id-c2', report(1, { full: true, applications: [synced()] }), nowMs)
    await store.db.deleteFrom('clusters').where('name', '=', 'c2').execute()
    await view.stop()
    const rows = await store.db.selectFrom('application_reports').select('cluster_id').execute()
    expect(rows).toEqual([{ cluster_id: 'id-c1' }])
    view = await loadView()
  })
})

describe('the connection', () => {
  test('decays by age: Online, Stale, Offline, and Online again', () => {
    beat(0)
    expect(connection()).toBe(ConnectionState.ONLINE)
    nowMs += 45_000
    expect(connection()).toBe(ConnectionState.STALE)
    nowMs += 255_000
    expect(connection()).toBe(ConnectionState.OFFLINE)
    expect(deployment()?.connection).toBe(ConnectionState.OFFLINE)
    beat(0)
    expect(connection()).toBe(ConnectionState.ONLINE)
  })

  test('is Stale the moment NATS says that the agent is gone, and a heartbeat that was still under way changes nothing', () => {
    view.connected('id-c1', nowMs)
    beat(0)
    view.disconnected('id-c1', nowMs)
    expect(connection()).toBe(ConnectionState.STALE)
    beat(0)
    expect(connection()).toBe(ConnectionState.STALE)
    nowMs += 2_000
    beat(0)
    expect(connection()).toBe(ConnectionState.ONLINE)
  })

  test('of a cluster that has not joined is Pending', async () => {
    await addCluster('new', null)
    await view.refresh([])
    expect(view.getCluster('new').connection).toBe(ConnectionState.PENDING)
  })

  test('is not kept alive by times from the future', () => {
    view.applyReport('id-c1', report(1, { full: true }), nowMs + 3_600_000)
    nowMs += 45_000
    expect(connection()).toBe(ConnectionState.STALE)
  })
})

describe('the status', () => {
  beforeEach(async () => {
    await addCluster('c10')
    await addApplication('api')
    await deploy('c10', 'web')
    await deploy('c10', 'api')
    for (const name of ['shop', 'other']) {
      await store.db
        .insertInto('repositories')
        .values({ name, uid: name, generation: 1, labels: '{}', spec: '{"url":"https://h/x"}', created_at: 1 })
        .execute()
    }
    await view.refresh()
  })

  const shown = (filter: { cluster?: string; application?: string }) => {
    const status = view.status(filter)
    return {
      clusters: status.clusters.map((each) => each.name),
      applications: status.applications.map((each) => each.metadata?.name),
      deployments: status.deployments.map((each) => `${each.application}@${each.cluster}`),
      repositories: status.repositories.map((each) => each.metadata?.name),
    }
  }

  test('lists everything, sorted', () => {
    expect(shown({})).toEqual({
      clusters: ['c1', 'c10'],
      applications: ['api', 'web'],
      deployments: ['api@c10', 'web@c1', 'web@c10'],
      repositories: ['other', 'shop'],
    })
    expect(view.status().applications.map((each) => each.status?.clusters)).toEqual([['c10'], ['c1', 'c10']])
  })

  test('narrows to one cluster or application, by its whole name', () => {
    expect(shown({ cluster: 'c1' })).toEqual({
      clusters: ['c1'],
      applications: ['web'],
      deployments: ['web@c1'],
      repositories: ['shop'],
    })
    expect(shown({ application: 'api' })).toMatchObject({ clusters: ['c10'], deployments: ['api@c10'] })
    expect(shown({ application: 'api', cluster: 'c1' })).toMatchObject({ clusters: ['c1'], deployments: [] })
    expect(() => view.status({ cluster: 'c' })).toThrow('there is no cluster "c"')
    expect(() => view.status({ application: 'we' })).toThrow('there is no Application "we"')
  })

  test('shows what is leaving until it is gone', async () => {
    await store.db.updateTable('deployments').set({ state: 'tombstone' }).where('cluster_id', '=', 'id-c1').execute()
    await view.refresh(['id-c1'])
    expect(view.status({ cluster: 'c1' }).deployments).toMatchObject([{ removing: true, application: 'web' }])
    expect(view.status().applications.map((each) => each.status?.clusters)).toEqual([['c10'], ['c10']])
  })

  test('forgets a removed cluster', async () => {
    await store.db.deleteFrom('clusters').where('name', '=', 'c1').execute()
    await view.refresh([])
    expect(shown({}).clusters).toEqual(['c10'])
  })
})

describe('a listener', () => {
  test('hears of many changes at once, and of a heartbeat only when it changes what is shown', async () => {
    const heard = vi.fn()
    const unsubscribe = view.subscribe(heard)
    for (let sequence = 1; sequence <= 50; sequence++) say(sequence, { full: true, applications: [synced()] })
    await vi.waitFor(() => expect(heard).toHaveBeenCalledTimes(1))
    beat(50)
    nowMs += 50_000
    // Ages are looked at every second, without anybody asking.
    await vi.waitFor(() => expect(heard).toHaveBeenCalledTimes(2), { timeout: 3_000 })
    unsubscribe()
    say(51, { full: true })
    await view.refresh()
    expect(heard).toHaveBeenCalledTimes(2)
  })
})

test('reports are written to disk within seconds, many in one transaction', async () => {
  say(1, { full: true, applications: [synced()] })
  await vi.waitFor(
    async () => {
      expect(await store.db.selectFrom('application_reports').select('application').execute()).toHaveLength(1)
    },
    { timeout: 3_000 },
  )
})
