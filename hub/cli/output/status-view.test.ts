import { create } from '@bufbuild/protobuf'
import { ApplicationSchema } from '@fairlead/proto/definitions'
import { FleetStatusSchema } from '@fairlead/proto/fleet'
import { describe, expect, test } from 'vitest'
import { explainApplication } from '../fleet/explain.ts'
import { readyFleet, sampleFleet } from '../test-support/sample-fleet.ts'
import { formatStatus } from './status-view.ts'

const now = Date.UTC(2026, 0, 1)
const options = { now, wide: false, style: (_style: unknown, text: string) => text }

describe('status', () => {
  test('shows every application on every cluster, and below what is wrong and where', () => {
    const squeeze = (line: string) => line.replace(/ +/g, ' ')
    expect(formatStatus(sampleFleet(now), options).map(squeeze)).toEqual([
      'APPLICATION CLUSTER REVISION SYNC HEALTH DRIFT AGE',
      'web eu main@sha1:9f8e7d6c Synced Healthy 2 reverted 3m',
      'web us (offline, last known 10m ago) main@sha1:1a2b3c4d -> 9f8e7d6c OutOfSync Degraded 1 open 2h',
      '',
      'Clusters that are not Online:',
      ' us is Offline: last seen 10m ago; what is shown of it is its last known state',
      '',
      'Problems:',
      ' web on us: Deployment.apps shop/web (deploy/web/web.yaml:12): ApplyInvalid: spec.replicas: must be a number [31m [2h]',
      ' web on us: Deployment.apps shop/web: Degraded: pod web-1: ImagePullBackOff',
      ' web on us: Deployment.apps shop/web: log: starting',
      ' web on us: Deployment.apps shop/web: log: fatal: [31m no disk',
      ' web on us: Deployment.apps shop/web: changed by kubectl-edit 11m ago (spec.template.spec.containers[0].image), not put back',
    ])
  })

  test('says of an application that is suspended that it is, and how many objects differ', () => {
    const status = readyFleet(now)
    for (const { report } of status.deployments) if (report) Object.assign(report, { suspended: true, drifted: 3 })
    const [, , line] = formatStatus(status, options)
    expect(line).toMatch(/ Synced, Suspended +Healthy +3 open/)
  })

  test('of a fleet that is well is only the table', () => {
    const lines = formatStatus(readyFleet(now), options)
    expect(lines).toHaveLength(3)
    expect(lines[2]).toMatch(/^web +us +main@sha1:9f8e7d6c +Synced +Healthy/)
  })

  test('an application that selects no cluster has a row and says so', () => {
    const application = create(ApplicationSchema, {
      metadata: { name: 'lonely' },
      status: { revision: { ref: 'main', commit: 'abcdef0123456789abcdef0123456789abcdef01' } },
    })
    const lines = formatStatus(create(FleetStatusSchema, { applications: [application] }), options)
    expect(lines[1]).toMatch(/^lonely +- +main@sha1:abcdef01/)
    expect(lines.at(-1)).toBe('  lonely: its placement selects no cluster')
  })

  test('of an empty fleet says what to do', () => {
    expect(formatStatus(create(FleetStatusSchema), options)).toEqual([
      'No applications. Make one by: fairlead apply -f FILE',
    ])
  })
})

describe('why', () => {
  test('tells the way of the commit and everything that holds it up', () => {
    const status = sampleFleet(now)
    const [application] = status.applications
    if (!application) throw new Error('the sample has an application')
    const text = explainApplication(application, status, { now }).join('\n')
    expect(text).toContain('web: deploy/web of repository shop, main')
    expect(text).toContain('git: ref at 9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c, seen 1m ago')
    expect(text).toContain('on us (Offline): OutOfSync, Degraded since 2h')
    expect(text).toContain('(deploy/web/web.yaml:12): ApplyInvalid')
    expect(text).toMatch(/Not where it should be:\n {2}web on us: the cluster is Offline$/)
  })

  test('tells where an application is defined that comes from Git, and that it is held when it is gone there', () => {
    const status = sampleFleet(now)
    const [application] = status.applications
    if (!application?.metadata) throw new Error('the sample has an application')
    const text = () => explainApplication(application, status, { now }).join('\n')
    expect(text()).not.toContain('definition:')
    application.metadata.owner = 'git:fleet'
    application.metadata.origin = 'apps/web.yaml:3'
    expect(text()).toContain('\n  definition: comes from git:fleet, apps/web.yaml:3\n')
    application.metadata.origin = ''
    expect(text()).toContain('\n  definition: comes from git:fleet, it is gone there, and held')
  })

  test('says so when all is well', () => {
    const status = readyFleet(now)
    const [application] = status.applications
    if (!application) throw new Error('the sample has an application')
    expect(explainApplication(application, status, { now }).at(-1)).toBe(
      'Synced and Healthy on every cluster that it selects.',
    )
  })
})
