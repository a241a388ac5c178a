// What is kept in Secrets of a real API server: of any size, and noticed when it is damaged. NATS is away throughout.
import { randomBytes } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { ArtifactSchema } from '@fairlead/proto/slice'
import { artifactDigest, type SealedArtifact, sealArtifact } from '@fairlead/shared/artifact'
import { createLogger } from '@fairlead/shared/logger'
import { beforeEach, describe, expect, test } from 'vitest'
import { ClusterBed } from '../reconciler/cluster-bed.ts'
import { PulledArtifacts } from './artifact-loader.ts'
import { Connection } from './connection.ts'
import { ChunkBatch, PACK_SECRET_PREFIX } from './kept-chunks.ts'
import { KeptState } from './kept-state.ts'

const here = ClusterBed.forFile({ name: 'kept' })
let logged: string

beforeEach(() => {
  logged = ''
})

const signal = AbortSignal.timeout(120_000)

/** A loader as a process has it that was just started and reaches nobody. */
function startOffline(): PulledArtifacts {
  const write = (line: string): void => {
    logged += line
  }
  const logger = createLogger({ name: 'agent', stream: { write } })
  const nothing = (): void => undefined
  const connection = new Connection({ onConnected: nothing, onDisconnected: nothing, onRefused: nothing, logger })
  return new PulledArtifacts({ connection, kept: new KeptState(here.kube, here.namespace), logger })
}

const manifest = (name: string, data: Record<string, string>) => ({
  json: Buffer.from(JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data })),
})
const seal = (manifests: readonly { json: Uint8Array }[]): SealedArtifact =>
  sealArtifact(create(ArtifactSchema, { manifests: [...manifests] as never }))

/** Keeps the chunks, in as few packs as they need. */
async function keep({ chunks }: Pick<SealedArtifact, 'chunks'>): Promise<void> {
  const kept = new KeptState(here.kube, here.namespace)
  let batch = new ChunkBatch()
  for (const [digest, bytes] of chunks) {
    if (batch.add(digest, bytes)) continue
    await kept.chunks.write(batch, signal)
    batch = new ChunkBatch()
    batch.add(digest, bytes)
  }
  await kept.chunks.write(batch, signal)
}

/** Names of the Secrets that hold chunks. */
async function packs(): Promise<string[]> {
  const secrets = await here.admin.list({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace: here.namespace } as never,
  })
  return secrets.map(({ metadata }) => metadata.name).filter((name) => name.startsWith(PACK_SECRET_PREFIX))
}

const random = (bytes: number): string =>
  randomBytes(Math.ceil(bytes / 2))
    .toString('hex')
    .slice(0, bytes)

describe('what is larger than a Secret may be is kept in several, and read back whole', () => {
  test.each([
    [
      '13,000 objects',
      () => Array.from({ length: 13_000 }, (_, index) => manifest(`object-${index}`, { a: random(64) })),
    ],
    ['a ConfigMap of 1 MB', () => [manifest('large', { a: 'x'.repeat(1_000_000) })]],
    [
      '5 MB that cannot be compressed',
      () =>
        Array.from({ length: 7 }, (_, index) => manifest(`r${index}`, { a: randomBytes(750_000).toString('base64') })),
    ],
  ])('%s', async (_what, make) => {
    const artifact = seal(make())
    await keep(artifact)
    const loaded = await startOffline().load(artifact.reference, signal)
    expect(artifactDigest(loaded)).toBe(artifact.reference.digest)
    expect(loaded.manifests.length).toBe(artifact.reference.objects)
  })

  test('a slice of the largest size that NATS carries', async () => {
    const document = randomBytes(1_048_576 - 1_024)
    const slice = { clusterId: 'a'.repeat(26), generation: 1n, document: new Uint8Array(document) }
    await new KeptState(here.kube, here.namespace).writeSlice(slice, signal)
    expect(await new KeptState(here.kube, here.namespace).readSlice(signal)).toEqual(slice)
  })
})

describe('a damaged part is noticed and told, is not used, and harms no other artifact', () => {
  const flipped = (base64: string): string => {
    const bytes = Buffer.from(base64, 'base64')
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    return bytes.toString('base64')
  }
  test.each<[string, (chunk: string, other: string) => string | null | undefined]>([
    ['with one bit flipped', (chunk) => flipped(chunk)],
    ['cut short', (chunk) => Buffer.from(chunk, 'base64').subarray(0, -100).toString('base64')],
    ['emptied', () => ''],
    ['swapped for another', (_chunk, other) => other],
    ['without its data', () => null],
    ['deleted', () => undefined],
  ])('%s', async (_what, damage) => {
    const large = seal([manifest('large', { a: randomBytes(700_000).toString('base64') })])
    const small = seal([manifest('small', { a: 'b' })])
    await keep(large)
    await keep(small)
    const offline = startOffline()
    // Listed while all were there.
    await offline.load(small.reference, signal)
    const [, second = '', third = ''] = large.chunks.keys()
    const [pack] = (
      await here.admin.list({ apiVersion: 'v1', kind: 'Secret', metadata: { namespace: here.namespace } as never })
    ).filter(({ data }) => data?.[second] !== undefined)
    if (!pack) throw new Error('the chunk is in no pack')
    const reference = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: pack.metadata.name, namespace: here.namespace },
    }
    const damaged = damage(pack.data?.[second] ?? '', pack.data?.[third] ?? '')
    if (damaged === undefined) await here.admin.delete(reference)
    else await here.admin.patch(reference, { data: { [second]: damaged } })
    await expect(offline.load(large.reference, AbortSignal.timeout(500))).rejects.toMatchObject({ code: 'Aborted' })
    expect(logged).toContain('a kept artifact is damaged')
    expect((await startOffline().load(small.reference, signal)).manifests.length).toBe(1)
  })
})

describe('many small artifacts', () => {
  const smalls = (count: number, from = 0): SealedArtifact[] =>
    Array.from({ length: count }, (_, index) => seal([manifest(`small-${from + index}`, { a: random(100) })]))
  const digestsOf = (artifacts: readonly SealedArtifact[]): Set<string> =>
    new Set(artifacts.flatMap(({ chunks }) => [...chunks.keys()]))
  const merged = (artifacts: readonly SealedArtifact[]) => ({
    chunks: new Map(artifacts.flatMap(({ chunks }) => [...chunks])),
  })

  test('are kept in one Secret, which is looked for once and read once for all of them', async () => {
    const artifacts = smalls(250)
    await keep(merged(artifacts))
    expect((await packs()).length).toBe(1)
    const since = Date.now()
    const offline = startOffline()
    const loaded = await Promise.all(artifacts.map(async ({ reference }) => await offline.load(reference, signal)))
    expect(loaded.map(artifactDigest)).toEqual(artifacts.map(({ reference }) => reference.digest))
    const requests = await waitFor('the audit log to have the read', () => {
      const found = here.cluster.auditLog({ resource: 'secrets', namespace: here.namespace, since })
      return found.some(({ verb }) => verb === 'get') ? found : undefined
    })
    expect(requests.map(({ verb }) => verb)).toEqual(['list', 'get'])
  })

  test('go with the last that is needed, and what is left of a large pack is kept anew in a small one', async () => {
    const artifacts = smalls(9)
    await keep(merged(artifacts))
    const [pack] = await packs()
    const offline = startOffline()
    const { chunks } = new KeptState(here.kube, here.namespace)
    const [most, few] = [digestsOf(artifacts.slice(0, 5)), digestsOf(artifacts.slice(0, 4))]
    await offline.keep(most, signal)
    await chunks.dropOthers(most, signal)
    expect(await packs()).toEqual([pack])
    await offline.keep(few, signal)
    const restarted = new KeptState(here.kube, here.namespace).chunks
    await restarted.dropOthers(few, signal)
    const [left, ...others] = await packs()
    expect(others).toEqual([])
    expect(left).not.toBe(pack)
    const loader = startOffline()
    for (const { reference } of artifacts.slice(0, 4)) await loader.load(reference, signal)
    await restarted.dropOthers(new Set(), signal)
    expect(await packs()).toEqual([])
  })
})
