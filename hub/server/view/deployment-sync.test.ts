import { create } from '@bufbuild/protobuf'
import { RevisionSchema, SyncState } from '@fairlead/proto/common'
import { type ApplicationReport, ApplicationReportSchema } from '@fairlead/proto/report'
import { describe, expect, test } from 'vitest'
import { decideSync } from './deployment-sync.ts'

const revision = create(RevisionSchema, { repository: 'shop', ref: 'main', commit: 'c1' })
const desired = { removing: false, revision, artifactDigest: 'd1' }
const report = (change: Partial<ApplicationReport>): ApplicationReport =>
  create(ApplicationReportSchema, {
    application: 'web',
    revision,
    artifactDigest: 'd1',
    sync: SyncState.SYNCED,
    ...change,
  } as ApplicationReport)

describe('an application on a cluster is', () => {
  test('Synced only when the agent says so of the desired revision and artifact', () => {
    expect(decideSync(desired, report({}))).toBe(SyncState.SYNCED)
    expect(decideSync(desired, report({ artifactDigest: 'd2' }))).toBe(SyncState.OUT_OF_SYNC)
    const older = create(RevisionSchema, { ...revision, commit: 'c0' })
    expect(decideSync(desired, report({ revision: older }))).toBe(SyncState.OUT_OF_SYNC)
    const other = create(RevisionSchema, { ...revision, repository: 'fork' })
    expect(decideSync(desired, report({ revision: other }))).toBe(SyncState.OUT_OF_SYNC)
    expect(decideSync({ ...desired, artifactDigest: undefined }, report({}))).toBe(SyncState.OUT_OF_SYNC)
    const empty = create(ApplicationReportSchema, { application: 'web', sync: SyncState.SYNCED })
    expect(decideSync({ removing: false, revision: undefined, artifactDigest: undefined }, empty)).toBe(
      SyncState.OUT_OF_SYNC,
    )
  })

  test('what the agent says, when it speaks of what is desired', () => {
    expect(decideSync(desired, report({ sync: SyncState.OUT_OF_SYNC }))).toBe(SyncState.OUT_OF_SYNC)
    expect(decideSync(desired, report({ sync: SyncState.UNKNOWN }))).toBe(SyncState.UNKNOWN)
    expect(decideSync(desired, report({ sync: SyncState.UNSPECIFIED }))).toBe(SyncState.UNKNOWN)
  })

  test('Unknown when the agent never spoke of it', () => {
    expect(decideSync(desired, undefined)).toBe(SyncState.UNKNOWN)
  })

  test('OutOfSync while it should leave and is still there', () => {
    const leaving = { removing: true, revision: undefined, artifactDigest: undefined }
    expect(decideSync(leaving, report({}))).toBe(SyncState.OUT_OF_SYNC)
  })
})
