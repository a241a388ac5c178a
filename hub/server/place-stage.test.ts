// What becomes of a slice that the broker could not carry: the real store, in memory.
import { create, toBinary } from '@bufbuild/protobuf'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { ArtifactReferenceSchema } from '@fairlead/proto/slice'
import { sha256Hex } from '@fairlead/shared/digest'
import { silentLogger } from '@fairlead/shared/logger'
import { generateSigningKey } from '@fairlead/shared/signing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { placeAndSlice } from './place-stage.ts'
import { openStore, type Store } from './store/store.ts'
import { VariantIndex } from './variants.ts'
import { createFleetView } from './view/view.ts'

const signingKey = generateSigningKey()
const thresholds = { staleAfterMs: 1_000, offlineAfterMs: 2_000 }
const spec = create(ApplicationSpecSchema, { placement: { names: ['prod'] }, source: { repository: 'shop' } })
let store: Store

beforeEach(async () => {
  store = await openStore(':memory:', { logger: silentLogger })
  const cluster = { id: 'c', name: 'prod', labels: '{}', public_key: null, facts: null, created_at: 1, joined_at: 1 }
  await store.db.insertInto('clusters').values(cluster).execute()
  const row = { name: 'web', uid: 'u', generation: 1, labels: '{}', spec: '{}', created_at: 1, deleting: null }
  await store.db.insertInto('applications').values(row).execute()
})

afterEach(async () => {
  await store.close()
})

/** Has the application be an artifact of that many chunks; each takes 66 bytes of the slice. */
async function place(chunks: number, nowMs: number): Promise<string[]> {
  const digest = `digest-${chunks}`
  const names = Array.from({ length: chunks }, (_, index) => sha256Hex(`${index}`))
  const reference = toBinary(ArtifactReferenceSchema, create(ArtifactReferenceSchema, { digest, chunks: names }))
  await store.db
    .insertInto('artifacts')
    .values({ digest, reference, created_at: 1 })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const render = { attemptedCommit: 'c', artifactDigest: digest, revision: '{"commit":"c"}', incomplete: false }
  return await placeAndSlice(store, {
    applications: [{ name: 'web', uid: 'u', generation: 1, deleting: null, spec }],
    clusters: [{ id: 'c', name: 'prod', labels: {}, values: {}, hasJoined: true, capabilities: '' }],
    renders: new Map([['web', new Map([['', render]])]]),
    variants: new VariantIndex(),
    mustSlice: new Set(),
    signingKey,
    nowMs,
  })
}

async function readState() {
  const view = createFleetView({ store, thresholds, logger: silentLogger })
  await view.load()
  const problems = view.getCluster('prod').problems.map(({ code, since }) => `${code} ${since?.seconds}`)
  await view.stop()
  const slice = await store.db.selectFrom('slices').select('generation').executeTakeFirst()
  return { problems, generation: slice?.generation }
}

test('a slice that is too large to be sent leaves the last good one, and is a problem of the cluster until it fits', async () => {
  expect(await place(1, 1_000)).toEqual(['c'])
  expect(await place(20_000, 2_000)).toEqual([])
  expect(await readState()).toEqual({ problems: ['LimitExceeded 2'], generation: 1_000 })
  expect(await place(20_001, 3_000)).toEqual([])
  expect(await readState()).toEqual({ problems: ['LimitExceeded 2'], generation: 1_000 })
  expect(await place(1, 4_000)).toEqual([])
  expect(await readState()).toEqual({ problems: [], generation: 1_000 })
  expect(await place(2, 5_000)).toEqual(['c'])
  expect(await readState()).toEqual({ problems: [], generation: 5_000 })
})

test('however often a slice is signed while NATS is away, it waits once to be published', async () => {
  for (const chunks of [1, 2, 3]) await place(chunks, chunks * 1_000)
  const rows = await store.db.selectFrom('outbox').select(['kind', 'key', 'created_at']).execute()
  expect(rows).toEqual([{ kind: 'slice', key: 'c', created_at: 3_000 }])
})

test('a first slice that is too large is told too', async () => {
  expect(await place(20_000, 1_000)).toEqual([])
  expect(await readState()).toEqual({ problems: ['LimitExceeded 1'], generation: undefined })
})
