import { ConnectionState, HealthState, SyncState } from '@fairlead/proto/common'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { describe, expect, test } from 'vitest'
import { readyFleet } from '../test-support/sample-fleet.ts'
import { assessReadiness } from './readiness.ts'

function changed(change: (status: FleetStatus) => void): FleetStatus {
  const status = readyFleet(0)
  change(status)
  return status
}

const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('missing in the sample')
  return value
}

describe('a fleet is ready', () => {
  test('when everything is Synced and Healthy on clusters that are Online', () => {
    expect(assessReadiness(readyFleet(0))).toEqual({ ready: true, reasons: [] })
  })

  test.each<[string, (status: FleetStatus) => void, string]>([
    [
      'a deployment is out of sync',
      (s) => Object.assign(must(s.deployments[0]), { sync: SyncState.OUT_OF_SYNC }),
      'web on eu: OutOfSync, Healthy',
    ],
    [
      'a deployment is on its way',
      (s) => Object.assign(must(s.deployments[0]), { health: HealthState.PROGRESSING }),
      'web on eu: Synced, Progressing',
    ],
    [
      'a cluster is not Online',
      (s) => Object.assign(must(s.deployments[1]), { connection: ConnectionState.STALE }),
      'web on us: the cluster is Stale',
    ],
    [
      'a deployment is being removed',
      (s) => Object.assign(must(s.deployments[1]), { removing: true }),
      'web on us: is being removed',
    ],
    ['a selected cluster was not sent it yet', (s) => s.deployments.pop(), 'web: not yet sent to 1 cluster'],
    ['nothing was rendered yet', (s) => delete must(must(s.applications[0]).status).revision, 'web: not rendered yet'],
    [
      'an application is being deleted',
      (s) => Object.assign(must(must(s.applications[0]).status), { deleting: true }),
      'web: is being deleted',
    ],
  ])('not when %s', (_name, change, reason) => {
    expect(assessReadiness(changed(change))).toEqual({ ready: false, reasons: [reason] })
  })

  test('with a commit, only when everything runs it', () => {
    expect(assessReadiness(readyFleet(0), { commit: '9f8e7d6' }).ready).toBe(true)
    expect(assessReadiness(readyFleet(0), { commit: '1a2b3c4' }).reasons).toContain('web on eu: runs 9f8e7d6c')
  })
})
