// For tests: a small fleet with one of everything that status has to show.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { ConnectionState, HealthState, SyncState } from '@fairlead/proto/common'
import { type FleetStatus, FleetStatusSchema } from '@fairlead/proto/fleet'
import { DriftKind } from '@fairlead/proto/report'

const COMMIT = '1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d'
const NEXT = '9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c'

/** Healthy web on eu; on us, which is Offline, web is behind, broken, and was changed by hand. `now` is ms since the epoch. */
export function sampleFleet(now: number): FleetStatus {
  const ago = (seconds: number) => timestampFromMs(now - seconds * 1_000)
  const revision = (commit: string) => ({ repository: 'shop', ref: 'main', commit })
  const deployment = { namespace: 'shop', group: 'apps', version: 'v1', kind: 'Deployment', name: 'web' }
  return create(FleetStatusSchema, {
    clusters: [
      {
        name: 'eu',
        labels: { env: 'prod' },
        connection: ConnectionState.ONLINE,
        lastSeenAt: ago(2),
        createdAt: ago(90_000),
      },
      { name: 'us', connection: ConnectionState.OFFLINE, lastSeenAt: ago(600), createdAt: ago(90_000) },
    ],
    repositories: [
      {
        metadata: { name: 'shop' },
        spec: { url: 'https://git.example.com/shop.git' },
        status: { lastPolledAt: ago(5), refs: [{ ref: 'main', commit: NEXT, seenAt: ago(60) }] },
      },
    ],
    applications: [
      {
        metadata: { name: 'web', createdAt: ago(90_000) },
        spec: { source: { repository: 'shop', ref: 'main', path: 'deploy/web' }, namespace: 'shop' },
        status: { revision: revision(NEXT), clusters: ['eu', 'us'] },
      },
    ],
    deployments: [
      {
        application: 'web',
        cluster: 'eu',
        desired: revision(NEXT),
        live: revision(NEXT),
        sync: SyncState.SYNCED,
        health: HealthState.HEALTHY,
        connection: ConnectionState.ONLINE,
        reportedAt: ago(3),
        report: { application: 'web', since: ago(180), objects: 4, remediations: 2n },
      },
      {
        application: 'web',
        cluster: 'us',
        desired: revision(NEXT),
        live: revision(COMMIT),
        sync: SyncState.OUT_OF_SYNC,
        health: HealthState.DEGRADED,
        connection: ConnectionState.OFFLINE,
        reportedAt: ago(600),
        report: {
          application: 'web',
          since: ago(7_200),
          objects: 4,
          problems: [
            {
              code: 'ApplyInvalid',
              message: 'spec.replicas: must be a number\u001b[31m',
              object: deployment,
              source: { file: 'deploy/web/web.yaml', line: 12 },
              since: ago(7_200),
            },
          ],
          unhealthy: [
            {
              object: deployment,
              health: HealthState.DEGRADED,
              message: 'pod web-1: ImagePullBackOff',
              logLines: ['starting', 'fatal:\u001b[31m no disk'],
            },
          ],
          drifts: [
            {
              object: deployment,
              kind: DriftKind.CHANGED,
              manager: 'kubectl-edit',
              detectedAt: ago(700),
              fields: ['spec.template.spec.containers[0].image'],
            },
          ],
        },
      },
    ],
  })
}

/** The same fleet with the cluster us back, Synced and Healthy. */
export function readyFleet(now: number): FleetStatus {
  const fleet = sampleFleet(now)
  const [eu, us] = fleet.deployments
  if (!eu || !us) throw new Error('the sample has two deployments')
  for (const cluster of fleet.clusters) cluster.connection = ConnectionState.ONLINE
  fleet.deployments = [eu, { ...eu, cluster: 'us' }]
  return fleet
}
