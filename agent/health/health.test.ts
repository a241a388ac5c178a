// Health by table: the cases of kstatus (pkg/kstatus/status/status_compute_test.go) and Argo CD's known ones.
import { HealthState } from '@fairlead/proto/common'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assessHealth, hasOwnRule, needsWholeObject, worstHealth } from './health.ts'
import { SHIPPED_RULES } from './shipped-rules.ts'

const NOW = new Date('2026-06-01T12:00:00Z')
const { HEALTHY, PROGRESSING, DEGRADED, SUSPENDED, MISSING, UNKNOWN } = HealthState

type Case = readonly [name: string, fields: object, health: HealthState, message?: RegExp]

const check = (apiVersion: string, kind: string, cases: readonly Case[]): void => {
  for (const [name, fields, health, message] of cases) {
    test(`${kind}: ${name}`, () => {
      const { metadata, ...rest } = fields as { metadata?: object }
      const object = {
        apiVersion,
        kind,
        metadata: { name: 'x', generation: 1, ...metadata },
        ...rest,
      } as KubernetesObject
      const found = assessHealth(object, { now: NOW })
      expect(`${HealthState[found.health]} ${found.message}`).toBe(`${HealthState[health]} ${found.message}`)
      expect(found.message === '').toBe(health === HEALTHY)
      if (message) expect(found.message).toMatch(message)
    })
  }
}

const condition = (type: string, status: string, reason = '', message = '', extra: object = {}) => ({
  conditions: [{ type, status, reason, message, ...extra }],
})
const seen = { observedGeneration: 1 }
const full = { ...seen, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2 }
const two = { replicas: 2 }

describe('workloads', () => {
  check('apps/v1', 'Deployment', [
    ['no status', { spec: two }, PROGRESSING, /not seen it yet/],
    ['rolled out', { spec: two, status: full }, HEALTHY],
    ['no replicas wanted', { spec: { replicas: 0 }, status: seen }, HEALTHY],
    [
      'default of one replica',
      { spec: {}, status: { ...seen, replicas: 1, updatedReplicas: 1 } },
      PROGRESSING,
      /0 of 1 pods are available/,
    ],
    [
      'older generation observed',
      { metadata: { generation: 2 }, spec: two, status: full },
      PROGRESSING,
      /seen generation 1 of 2/,
    ],
    [
      'not all updated',
      { spec: two, status: { ...full, updatedReplicas: 1 } },
      PROGRESSING,
      /1 of 2 pods are of the newest/,
    ],
    ['old pods left', { spec: two, status: { ...full, replicas: 3 } }, PROGRESSING, /1 old pods/],
    [
      'not all available',
      { spec: two, status: { ...full, availableReplicas: 1 } },
      PROGRESSING,
      /1 of 2 pods are available/,
    ],
    [
      'deadline exceeded',
      {
        spec: two,
        status: {
          ...full,
          ...condition('Progressing', 'False', 'ProgressDeadlineExceeded', 'ReplicaSet "x" has timed out progressing.'),
        },
      },
      DEGRADED,
      /ProgressDeadlineExceeded: ReplicaSet "x" has timed out/,
    ],
    [
      'pods refused',
      { spec: two, status: { ...seen, ...condition('ReplicaFailure', 'True', 'FailedCreate', 'exceeded quota: q') } },
      DEGRADED,
      /FailedCreate: exceeded quota/,
    ],
    ['paused', { spec: { ...two, paused: true }, status: seen }, SUSPENDED],
    [
      'being deleted',
      { metadata: { deletionTimestamp: 'now' }, spec: two, status: full },
      PROGRESSING,
      /being deleted/,
    ],
    [
      'nonsense in status',
      { spec: two, status: { observedGeneration: 1, replicas: 'two', conditions: 'x' } },
      PROGRESSING,
    ],
  ])
  const stateful = {
    ...seen,
    replicas: 2,
    readyReplicas: 2,
    updatedReplicas: 2,
    currentRevision: 'b',
    updateRevision: 'b',
  }
  check('apps/v1', 'StatefulSet', [
    ['no status', { spec: two }, PROGRESSING],
    ['rolled out', { spec: two, status: stateful }, HEALTHY],
    ['too few pods', { spec: two, status: { ...stateful, replicas: 1 } }, PROGRESSING, /1 of 2 pods are there/],
    ['not all ready', { spec: two, status: { ...stateful, readyReplicas: 1 } }, PROGRESSING, /1 of 2 pods are ready/],
    ['too many pods', { spec: two, status: { ...stateful, replicas: 3 } }, PROGRESSING, /1 pods too many/],
    [
      'in the middle of an update',
      { spec: two, status: { ...stateful, currentRevision: 'a', updatedReplicas: 1 } },
      PROGRESSING,
      /1 of 2 pods are of the newest/,
    ],
    [
      'updated on delete only',
      { spec: { ...two, updateStrategy: { type: 'OnDelete' } }, status: { ...stateful, currentRevision: 'a' } },
      HEALTHY,
    ],
    [
      'partition reached',
      {
        spec: { ...two, updateStrategy: { rollingUpdate: { partition: 1 } } },
        status: { ...stateful, currentRevision: 'a', updatedReplicas: 1 },
      },
      HEALTHY,
    ],
    [
      'partition not reached',
      {
        spec: { ...two, updateStrategy: { rollingUpdate: { partition: 1 } } },
        status: { ...stateful, currentRevision: 'a', updatedReplicas: 0 },
      },
      PROGRESSING,
    ],
  ])
  const daemon = {
    ...seen,
    desiredNumberScheduled: 3,
    currentNumberScheduled: 3,
    updatedNumberScheduled: 3,
    numberAvailable: 3,
    numberReady: 3,
  }
  check('apps/v1', 'DaemonSet', [
    ['no status', {}, PROGRESSING],
    ['rolled out', { status: daemon }, HEALTHY],
    ['no node fits', { status: seen }, HEALTHY],
    ['not scheduled everywhere', { status: { ...daemon, currentNumberScheduled: 2 } }, PROGRESSING, /2 of 3 nodes/],
    [
      'not all updated',
      { status: { ...daemon, updatedNumberScheduled: 1 } },
      PROGRESSING,
      /1 of 3 pods are of the newest/,
    ],
    [
      'updated on delete only',
      { spec: { updateStrategy: { type: 'OnDelete' } }, status: { ...daemon, updatedNumberScheduled: 1 } },
      HEALTHY,
    ],
    ['not all available', { status: { ...daemon, numberAvailable: 2 } }, PROGRESSING],
    ['not all ready', { status: { ...daemon, numberReady: 2 } }, PROGRESSING],
  ])
  check('apps/v1', 'ReplicaSet', [
    ['no status', { spec: two }, PROGRESSING],
    ['all there', { spec: two, status: full }, HEALTHY],
    ['too few', { spec: two, status: { ...full, replicas: 1 } }, PROGRESSING],
    ['too many', { spec: two, status: { ...full, replicas: 3 } }, PROGRESSING],
    ['not available', { spec: two, status: { ...full, availableReplicas: 0 } }, PROGRESSING],
    [
      'pods refused',
      { spec: two, status: { ...full, ...condition('ReplicaFailure', 'True', 'FailedCreate') } },
      DEGRADED,
      /FailedCreate/,
    ],
  ])
  check('batch/v1', 'Job', [
    ['no status', {}, PROGRESSING, /not started/],
    [
      'running',
      { spec: { completions: 3 }, status: { startTime: 'x', active: 1, succeeded: 1, failed: 2 } },
      PROGRESSING,
      /1 of 3 pods have succeeded, 2 failed/,
    ],
    ['complete', { status: { startTime: 'x', succeeded: 1, ...condition('Complete', 'True') } }, HEALTHY],
    [
      'failed',
      {
        status: {
          startTime: 'x',
          ...condition('Failed', 'True', 'BackoffLimitExceeded', 'Job has reached the specified backoff limit'),
        },
      },
      DEGRADED,
      /BackoffLimitExceeded: Job has reached/,
    ],
    ['suspended', { spec: { suspend: true } }, SUSPENDED],
    ['failing', { status: { startTime: 'x', ...condition('FailureTarget', 'True', 'PodFailurePolicy') } }, PROGRESSING],
  ])
  check('batch/v1', 'CronJob', [
    ['scheduled', { spec: { schedule: '* * * * *' } }, HEALTHY],
    ['suspended', { spec: { suspend: true } }, SUSPENDED],
  ])
  const waiting = (reason: string, message = '', more: object = {}) => ({
    containerStatuses: [{ name: 'app', state: { waiting: { reason, message } }, ...more }],
  })
  check('v1', 'Pod', [
    ['no status', {}, PROGRESSING],
    [
      'unschedulable',
      {
        status: { phase: 'Pending', ...condition('PodScheduled', 'False', 'Unschedulable', '0/1 nodes are available') },
      },
      PROGRESSING,
      /Unschedulable: 0\/1 nodes/,
    ],
    ['being pulled', { status: { phase: 'Pending', ...waiting('ContainerCreating') } }, PROGRESSING],
    [
      'image not to be had',
      { status: { phase: 'Pending', ...waiting('ImagePullBackOff', 'Back-off pulling image "x"') } },
      DEGRADED,
      /^app: ImagePullBackOff: Back-off pulling image "x"$/,
    ],
    [
      'missing ConfigMap',
      { status: { phase: 'Pending', ...waiting('CreateContainerConfigError', 'configmap "c" not found') } },
      DEGRADED,
      /configmap "c" not found/,
    ],
    [
      'init container crashes',
      { status: { phase: 'Pending', initContainerStatuses: waiting('CrashLoopBackOff').containerStatuses } },
      DEGRADED,
      /app: CrashLoopBackOff/,
    ],
    ['ready', { status: { phase: 'Running', ...condition('Ready', 'True') } }, HEALTHY],
    [
      'not ready',
      {
        status: {
          phase: 'Running',
          ...condition('Ready', 'False', 'ContainersNotReady', 'containers with unready status: [app]'),
        },
      },
      PROGRESSING,
      /ContainersNotReady: containers with unready/,
    ],
    [
      'crashing',
      {
        status: {
          phase: 'Running',
          ...waiting('CrashLoopBackOff', 'back-off 10s', {
            lastState: { terminated: { exitCode: 137, reason: 'OOMKilled' } },
          }),
        },
      },
      DEGRADED,
      /CrashLoopBackOff.*exit code 137, OOMKilled/,
    ],
    [
      'restarting',
      {
        status: {
          phase: 'Running',
          ...condition('Ready', 'False', 'ContainersNotReady'),
          containerStatuses: [{ name: 'app', restartCount: 2, lastState: { terminated: { exitCode: 1 } } }],
        },
      },
      PROGRESSING,
      /after 2 restarts of app/,
    ],
    ['succeeded', { status: { phase: 'Succeeded' } }, HEALTHY],
    [
      'evicted',
      { status: { phase: 'Failed', reason: 'Evicted', message: 'low on memory' } },
      DEGRADED,
      /Evicted: low on memory/,
    ],
    [
      'failed',
      {
        status: {
          phase: 'Failed',
          containerStatuses: [{ name: 'app', state: { terminated: { exitCode: 3, reason: 'Error' } } }],
        },
      },
      DEGRADED,
      /app: Error with exit code 3/,
    ],
  ])
})

describe('other built-in kinds', () => {
  check('v1', 'PersistentVolumeClaim', [
    ['no status', {}, PROGRESSING],
    ['bound', { status: { phase: 'Bound' } }, HEALTHY],
    ['pending', { status: { phase: 'Pending' } }, PROGRESSING],
    ['lost', { status: { phase: 'Lost' } }, DEGRADED],
  ])
  check('v1', 'Service', [
    ['cluster IP', { spec: { type: 'ClusterIP' } }, HEALTHY],
    [
      'load balancer without an address',
      { spec: { type: 'LoadBalancer', clusterIP: '10.0.0.1' }, status: { loadBalancer: {} } },
      PROGRESSING,
    ],
    [
      'load balancer',
      { spec: { type: 'LoadBalancer' }, status: { loadBalancer: { ingress: [{ ip: '1.2.3.4' }] } } },
      HEALTHY,
    ],
  ])
  check('networking.k8s.io/v1', 'Ingress', [
    ['without an address, as with controllers that publish none', { status: { loadBalancer: {} } }, HEALTHY],
    ['being deleted', { metadata: { deletionTimestamp: 'now' } }, PROGRESSING],
  ])
  check('v1', 'Namespace', [
    ['active', { status: { phase: 'Active' } }, HEALTHY],
    ['terminating', { status: { phase: 'Terminating' } }, PROGRESSING],
  ])
  check('v1', 'Node', [
    ['ready', { status: condition('Ready', 'True') }, HEALTHY],
    [
      'not heard from',
      { status: condition('Ready', 'Unknown', 'NodeStatusUnknown') },
      PROGRESSING,
      /NodeStatusUnknown/,
    ],
  ])
  check('apiextensions.k8s.io/v1', 'CustomResourceDefinition', [
    ['no status', {}, PROGRESSING],
    ['established', { status: condition('Established', 'True') }, HEALTHY],
    [
      'being installed',
      { status: condition('Established', 'False', 'Installing', 'the initial names have been accepted') },
      PROGRESSING,
      /Installing/,
    ],
    [
      'name taken',
      { status: condition('NamesAccepted', 'False', 'ListKindConflict', '"XList" is already in use') },
      DEGRADED,
      /already in use/,
    ],
  ])
  check('apiregistration.k8s.io/v1', 'APIService', [
    ['no status', {}, PROGRESSING],
    ['available', { status: condition('Available', 'True', 'Passed') }, HEALTHY],
    [
      'not available',
      { status: condition('Available', 'False', 'MissingEndpoints', 'endpoints for service/x have no addresses') },
      PROGRESSING,
      /MissingEndpoints/,
    ],
  ])
  const at = (time: string) => ({ lastTransitionTime: time })
  check('autoscaling/v2', 'HorizontalPodAutoscaler', [
    ['no conditions', {}, PROGRESSING],
    ['scaling', { status: condition('AbleToScale', 'True', 'ReadyForNewScale') }, HEALTHY],
    [
      'target missing',
      {
        status: condition(
          'AbleToScale',
          'False',
          'FailedGetScale',
          'deployments.apps "x" not found',
          at('2026-06-01T11:00:00Z'),
        ),
      },
      DEGRADED,
      /FailedGetScale: deployments/,
    ],
    [
      'metrics not there yet',
      {
        status: condition(
          'ScalingActive',
          'False',
          'FailedGetResourceMetric',
          'no metrics',
          at('2026-06-01T11:58:00Z'),
        ),
      },
      PROGRESSING,
      /no metrics/,
    ],
    [
      'metrics missing for long',
      {
        status: condition(
          'ScalingActive',
          'False',
          'FailedGetResourceMetric',
          'no metrics',
          at('2026-06-01T11:00:00Z'),
        ),
      },
      DEGRADED,
    ],
    ['scaled to zero', { status: condition('ScalingActive', 'False', 'ScalingDisabled') }, HEALTHY],
    [
      'version 1, whose conditions are in an annotation',
      {
        metadata: {
          annotations: {
            'autoscaling.alpha.kubernetes.io/conditions':
              '[{"type":"AbleToScale","status":"False","reason":"FailedGetScale","message":"no target","lastTransitionTime":"2026-06-01T11:00:00Z"}]',
          },
        },
      },
      DEGRADED,
      /FailedGetScale: no target/,
    ],
    [
      'version 1 with nonsense',
      { metadata: { annotations: { 'autoscaling.alpha.kubernetes.io/conditions': '{' } } },
      PROGRESSING,
    ],
    ['at its limit', { status: condition('ScalingLimited', 'True', 'TooManyReplicas') }, HEALTHY],
  ])
  check('policy/v1', 'PodDisruptionBudget', [
    ['no status', {}, PROGRESSING],
    ['observed', { status: seen }, HEALTHY],
    ['older generation observed', { metadata: { generation: 2 }, status: seen }, PROGRESSING],
    [
      'allows none now',
      { status: { ...seen, ...condition('DisruptionAllowed', 'False', 'InsufficientPods') } },
      HEALTHY,
    ],
    [
      'cannot be computed',
      { status: { ...seen, ...condition('DisruptionAllowed', 'False', 'SyncFailed', 'found no controllers') } },
      DEGRADED,
    ],
  ])
  check('storage.k8s.io/v1', 'VolumeAttachment', [
    ['no status', {}, PROGRESSING],
    ['attached', { status: { attached: true } }, HEALTHY],
    [
      'refused',
      { status: { attached: false, attachError: { message: 'disk is in use' } } },
      DEGRADED,
      /disk is in use/,
    ],
  ])
  check('flowcontrol.apiserver.k8s.io/v1', 'FlowSchema', [
    ['no status', {}, HEALTHY],
    ['dangling', { status: condition('Dangling', 'True', 'NotFound', 'no such level') }, DEGRADED, /no such level/],
  ])
  check('storagemigration.k8s.io/v1beta1', 'StorageVersionMigration', [
    ['no status', {}, PROGRESSING],
    ['done', { status: condition('Succeeded', 'True') }, HEALTHY],
    ['failed', { status: condition('Failed', 'True', 'X') }, DEGRADED],
  ])
  check('certificates.k8s.io/v1beta1', 'PodCertificateRequest', [
    ['no status', {}, PROGRESSING],
    ['issued', { status: condition('Issued', 'True') }, HEALTHY],
    ['denied', { status: condition('Denied', 'True', 'Policy') }, DEGRADED],
  ])
  check('certificates.k8s.io/v1', 'CertificateSigningRequest', [
    ['no status', {}, PROGRESSING],
    ['issued', { status: { ...condition('Approved', 'True'), certificate: 'LS0t' } }, HEALTHY],
    ['denied', { status: condition('Denied', 'True', 'ByHand', 'not ours') }, DEGRADED, /not ours/],
  ])
  check('v1', 'PersistentVolume', [
    ['no status', {}, PROGRESSING],
    ['available', { status: { phase: 'Available' } }, HEALTHY],
    ['failed', { status: { phase: 'Failed', message: 'recycle failed' } }, DEGRADED, /recycle failed/],
  ])
  for (const [apiVersion, kind] of [
    ['v1', 'ConfigMap'],
    ['v1', 'Secret'],
    ['v1', 'ServiceAccount'],
    ['rbac.authorization.k8s.io/v1', 'ClusterRole'],
    ['networking.k8s.io/v1', 'NetworkPolicy'],
    ['storage.k8s.io/v1', 'StorageClass'],
  ] as const) {
    check(apiVersion, kind, [['is there', {}, HEALTHY]])
  }
})

describe('everything else', () => {
  check('example.com/v1', 'Widget', [
    ['no status', {}, HEALTHY],
    ['no conditions', { status: { phase: 'Whatever' } }, HEALTHY],
    ['ready', { status: { ...seen, ...condition('Ready', 'True') } }, HEALTHY],
    [
      'not ready',
      { status: condition('Ready', 'False', 'Waiting', 'for the issuer') },
      PROGRESSING,
      /Waiting: for the issuer/,
    ],
    ['not ready, no reason', { status: condition('Ready', 'False') }, PROGRESSING, /Ready is False/],
    ['readiness unknown', { status: condition('Ready', 'Unknown', 'Progressing') }, PROGRESSING],
    [
      'failed',
      { status: condition('Ready', 'False', 'InstallFailed', 'timed out') },
      DEGRADED,
      /InstallFailed: timed out/,
    ],
    ['failing but unknown', { status: condition('Ready', 'Unknown', 'HealthCheckFailing') }, PROGRESSING],
    ['reconciling', { status: condition('Reconciling', 'True', 'Progressing', 'working') }, PROGRESSING, /working/],
    ['stalled', { status: condition('Stalled', 'True', 'BuildError', 'no such file') }, DEGRADED, /no such file/],
    ['not stalled', { status: condition('Stalled', 'False') }, HEALTHY],
    ['available', { status: condition('Available', 'True') }, HEALTHY],
    ['not available', { status: condition('Available', 'False', 'Starting') }, PROGRESSING],
    [
      'older generation observed',
      { metadata: { generation: 3 }, status: { observedGeneration: 2, ...condition('Ready', 'True') } },
      PROGRESSING,
      /generation 2 of 3/,
    ],
    [
      'condition of an older generation',
      { metadata: { generation: 3 }, status: condition('Ready', 'True', '', '', { observedGeneration: 2 }) },
      PROGRESSING,
      /generation 2, not yet of 3/,
    ],
    [
      'being deleted',
      { metadata: { deletionTimestamp: 'now' }, status: condition('Ready', 'True') },
      PROGRESSING,
      /being deleted/,
    ],
    [
      'not synced with its cloud',
      {
        status: {
          conditions: [
            { type: 'Synced', status: 'False', reason: 'ReconcileError', message: 'AccessDenied' },
            { type: 'Ready', status: 'True' },
          ],
        },
      },
      DEGRADED,
      /ReconcileError: AccessDenied/,
    ],
    ['nonsense', { status: { conditions: [null, 7, { type: 3 }] } }, HEALTHY],
  ])
  // A group of its own makes another kind of the same name.
  check('serving.knative.dev/v1', 'Service', [
    ['not ready', { spec: { type: 'LoadBalancer' }, status: condition('Ready', 'False', 'RevisionFailed') }, DEGRADED],
  ])
})

test('an object that is not there is Missing', () => {
  expect(assessHealth(undefined, { now: NOW }).health).toBe(MISSING)
})

test('the worst of several is told, and of equals the first', () => {
  const of = (health: HealthState, message = '') => ({ health, message })
  expect(worstHealth([]).health).toBe(HEALTHY)
  const order = [HEALTHY, SUSPENDED, PROGRESSING, UNKNOWN, MISSING, DEGRADED]
  for (const [index, health] of order.entries()) {
    expect(worstHealth(order.slice(0, index + 1).map((one) => of(one))).health).toBe(health)
    expect(
      worstHealth(
        order
          .slice(0, index + 1)
          .reverse()
          .map((one) => of(one)),
      ).health,
    ).toBe(health)
  }
  expect(worstHealth([of(DEGRADED, 'a'), of(DEGRADED, 'b')]).message).toBe('a')
})

test('kinds without a telling status are watched by their metadata', () => {
  expect(needsWholeObject({ group: '', kind: 'ConfigMap' })).toBe(false)
  expect(needsWholeObject({ group: '', kind: 'Secret' })).toBe(false)
  expect(needsWholeObject({ group: 'apps', kind: 'Deployment' })).toBe(true)
  expect(needsWholeObject({ group: 'example.com', kind: 'Secret' })).toBe(true)
})

/** Kinds with rules of every sort. */
const KINDS = [
  ...['v1 Pod', 'v1 Service', 'v1 Namespace', 'v1 Node', 'v1 PersistentVolume', 'v1 PersistentVolumeClaim'],
  ...['apps/v1 Deployment', 'apps/v1 StatefulSet', 'apps/v1 DaemonSet', 'apps/v1 ReplicaSet', 'batch/v1 Job'],
  ...['batch/v1 CronJob', 'autoscaling/v1 HorizontalPodAutoscaler', 'policy/v1 PodDisruptionBudget'],
  ...['apiextensions.k8s.io/v1 CustomResourceDefinition', 'apiregistration.k8s.io/v1 APIService'],
  ...[
    'certificates.k8s.io/v1 CertificateSigningRequest',
    'storage.k8s.io/v1 VolumeAttachment',
    'example.com/v1 Widget',
  ],
  ...SHIPPED_RULES.flatMap(({ kinds }) =>
    kinds.map((text) => text.replace('*.', 'x.').replace('/', '/v1 ').split(' ')),
  ).map(([apiVersion, kind]) => `${apiVersion} ${kind === '*' ? 'Any' : kind}`),
]
const NAMES = [
  'conditions',
  'phase',
  'state',
  'health',
  'status',
  'replicas',
  'observedGeneration',
  'listeners',
  'parents',
]
const CONDITIONS = ['Ready', 'Available', 'Stalled', 'Synced', 'Accepted', 'Progressing', 'type', 'status', 'reason']
const json = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(fc.jsonValue(), fc.constantFrom('True', 'False', 'Unknown', 'Failed', 'Running', '', 7, -1, null)),
    fc.array(tie('any'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...NAMES, ...CONDITIONS, 'containerStatuses', 'waiting', '__proto__'), tie('any')),
    fc.record({ type: fc.constantFrom(...CONDITIONS), status: tie('any'), reason: tie('any'), message: tie('any') }),
  ),
})).any

test('whatever a status and a spec hold, there is a state and no error', { timeout: 60_000 }, () => {
  const states = new Set(Object.values(HealthState))
  fc.assert(
    fc.property(fc.constantFrom(...KINDS), json, json, json, (kindText, status, spec, generation) => {
      const [apiVersion = '', kind = ''] = kindText.split(' ')
      const object = { apiVersion, kind, metadata: { name: 'x', generation }, spec, status } as KubernetesObject
      const found = assessHealth(object, { now: NOW })
      expect(states.has(found.health)).toBe(true)
      expect(found.health).not.toBe(HealthState.UNSPECIFIED)
      expect(typeof found.message).toBe('string')
      expect(found.message === '').toBe(found.health === HEALTHY)
    }),
    { numRuns: 3_000 },
  )
})

test('only kinds of others are judged by their conditions alone', () => {
  expect(hasOwnRule({ group: 'apps', kind: 'Deployment' })).toBe(true)
  expect(hasOwnRule({ group: '', kind: 'ConfigMap' })).toBe(true)
  expect(hasOwnRule({ group: 'cert-manager.io', kind: 'Certificate' })).toBe(true)
  expect(hasOwnRule({ group: 'example.com', kind: 'Widget' })).toBe(false)
})
