import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { SyncState } from '@fairlead/proto/common'
import { type ApplicationReport, ApplicationReportSchema, ReportSchema } from '@fairlead/proto/report'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openStore, type Store } from '../store/store.ts'
import { type Approvals, createApprovals, forgetApprovals, readApprovals } from './approvals.ts'

const DIGEST = 'ab'.repeat(32)
const OTHER = `abababab${'cd'.repeat(28)}`
const held = (...digests: string[]) => digests.map((digest) => ({ digest, count: 2 }))

let directory: string
let store: Store
let approvals: Approvals
let report: ApplicationReport | undefined
let changed: string[]

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-approvals-'))
  store = await openStore(join(directory, 'fairlead.db'), { logger: silentLogger })
  const cluster = { id: 'id-eu', name: 'eu', labels: '{}', created_at: 1, joined_at: 1 }
  await store.db.insertInto('clusters').values(cluster).execute()
  const application = { name: 'web', uid: 'u', generation: 1, labels: '{}', spec: '{}', created_at: 1 }
  await store.db.insertInto('applications').values(application).execute()
  const slice = { cluster_id: 'id-eu', generation: 1, content_hash: 'h', document: new Uint8Array() }
  await store.db.insertInto('slices').values(slice).execute()
  report = create(ApplicationReportSchema, { application: 'web', heldPrunes: held(DIGEST) })
  changed = []
  approvals = createApprovals({ store, findReport: () => report, onChange: (ids) => changed.push(...ids) })
})

afterEach(async () => {
  await store.close()
  rmSync(directory, { recursive: true })
})

const approve = (digest: string) => approvals.approve({ application: 'web', cluster: 'eu', digest }, 'admin')
const approved = async () =>
  await store.transaction(async (transaction) => (await readApprovals(transaction, ['id-eu'])).get('id-eu')?.get('web'))

describe('an approval', () => {
  test('is of the whole digest, is audited, and has the slice signed again whatever happens', async () => {
    expect(await approve('abababab')).toMatchObject({ digest: DIGEST, count: 2 })
    expect(await approved()).toEqual([DIGEST])
    expect(changed).toEqual(['id-eu'])
    const slice = await store.db.selectFrom('slices').select('content_hash').executeTakeFirstOrThrow()
    expect(slice.content_hash).toBe('')
    const [entry] = await store.db.selectFrom('audit').selectAll().execute()
    expect(entry).toMatchObject({ actor: 'admin', action: 'prune.approve', object: 'Application/web' })
    expect(JSON.parse(entry?.detail ?? '')).toEqual({ cluster: 'eu', digest: DIGEST, objects: 2 })
  })

  test('a second time changes nothing and is not audited again', async () => {
    await approve(DIGEST)
    await store.db.updateTable('slices').set({ content_hash: 'signed' }).execute()
    expect(await approve('abababab')).toMatchObject({ digest: DIGEST })
    expect(await approved()).toEqual([DIGEST])
    expect(changed).toEqual(['id-eu'])
    const slice = await store.db.selectFrom('slices').select('content_hash').executeTakeFirstOrThrow()
    expect(slice.content_hash).toBe('signed')
    expect(await store.db.selectFrom('audit').selectAll().execute()).toHaveLength(1)
  })

  test.each([
    ['nothing is held', undefined, DIGEST, 'FailedPrecondition'],
    ['another is held', held(OTHER), DIGEST, 'FailedPrecondition'],
    ['two are held that begin so', held(DIGEST, OTHER), 'abababab', 'FailedPrecondition'],
    ['the digest is too short', held(DIGEST), 'abababa', 'InvalidArgument'],
    ['it is none', held(DIGEST), '%', 'InvalidArgument'],
    ['it is empty', held(DIGEST), '', 'InvalidArgument'],
    ['what the agent reports is no digest', held('abababab; drop'), 'abababab', 'FailedPrecondition'],
  ])('is refused when %s', async (_when, heldPrunes, digest, code) => {
    report = heldPrunes && create(ApplicationReportSchema, { heldPrunes })
    await expect(approve(digest)).rejects.toMatchObject({ code })
    expect(await approved()).toBeUndefined()
    expect(changed).toEqual([])
  })

  test('goes with its cluster and with its application', async () => {
    await approve(DIGEST)
    await store.db.deleteFrom('slices').execute()
    await store.db.deleteFrom('applications').execute()
    expect(await approved()).toBeUndefined()
  })
})

describe('an approval is forgotten', () => {
  type Said = MessageInitShape<typeof ReportSchema>
  const appliedAt = { seconds: 1n }
  const [sync, OUT_OF_SYNC] = [SyncState.SYNCED, SyncState.OUT_OF_SYNC]
  test.each<[string, Said, boolean]>([
    [
      'not while it is still held',
      { applications: [{ application: 'web', heldPrunes: held(DIGEST), appliedAt }] },
      false,
    ],
    ['not before the agent has looked', { applications: [{ application: 'web' }] }, false],
    ['not when others are spoken of', { applications: [{ application: 'shop', appliedAt, sync }] }, false],
    [
      'not while something is still to be deleted, though nothing is said to be held yet',
      { applications: [{ application: 'web', appliedAt, sync: OUT_OF_SYNC }] },
      false,
    ],
    ['when it is carried out', { applications: [{ application: 'web', appliedAt, sync }] }, true],
    ['when something else is held', { applications: [{ application: 'web', heldPrunes: held(OTHER) }] }, true],
    ['when the application has left', { removed: ['web'] }, true],
  ])('%s', async (_when, said, isForgotten) => {
    await approve(DIGEST)
    expect(await forgetApprovals(store, 'id-eu', create(ReportSchema, said))).toBe(isForgotten)
    expect(await approved()).toEqual(isForgotten ? undefined : [DIGEST])
    expect(await forgetApprovals(store, 'id-us', create(ReportSchema, said))).toBe(false)
  })
})
