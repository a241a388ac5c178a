import { fromBinary } from '@bufbuild/protobuf'
import { ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { artifactDigest, openArtifact } from '@fairlead/shared/artifact'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, expect, test, vi } from 'vitest'
import type { SourceTree } from '../tracker/source-tree.ts'
import { createRenderer, type Renderer } from './renderer.ts'

// Threads start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000 })

let renderer: Renderer | undefined
afterEach(() => renderer?.stop())

const options = { application: 'web', path: '', namespace: 'shop' }

function tree(content: string): SourceTree {
  const bytes = new Uint8Array(new SharedArrayBuffer(Buffer.byteLength(content)))
  new TextEncoder().encodeInto(content, bytes)
  return { commit: 'c'.repeat(40), treeOid: 't', files: [{ path: 'a.yaml', mode: '100644', bytes }], skipped: [] }
}

function manyFiles(content: string, count: number): SourceTree {
  const one = tree(content)
  const files = Array.from({ length: count }, (_, index) =>
    one.files.map((file) => ({ ...file, path: `${index}.yaml` })),
  )
  return { ...one, files: files.flat() }
}

const good = tree('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n')
const noManifest = tree('x: [1]\n')
/** As many values as are allowed, again and again: seconds of work. */
const heavy = manyFiles(`a: [${'[],'.repeat(490_000)}]`, 20)
/** Many more than are allowed: without that limit they would take gigabytes. */
const hostile = ['[],', '- \n', '---\n', 'a,', '{a: b},', '? \n'].map((text) => tree(text.repeat(5_000_000)))

test('a render in a worker gives the artifact, its digest and the problems', async () => {
  renderer = createRenderer({ logger: silentLogger })
  const rendered = await renderer.render(good, options)
  const artifact = fromBinary(ArtifactSchema, rendered.content)
  expect(artifact.manifests).toHaveLength(1)
  expect(rendered.objects).toBe(1)
  expect(rendered.digest).toBe(artifactDigest(artifact))
  expect(rendered.incomplete).toBe(false)
  const broken = await renderer.render(noManifest, options)
  expect(broken).toMatchObject({ incomplete: true })
  expect(broken.problems[0]).toMatchObject({ code: 'InvalidManifest', source: { file: 'a.yaml', line: 1 } })
})

test('an artifact is sealed, opened and joined with an incomplete render in a worker', async () => {
  renderer = createRenderer({ logger: silentLogger })
  const last = await renderer.render(good, options)
  const stored = await renderer.seal(last)
  const reference = fromBinary(ArtifactReferenceSchema, stored.reference)
  expect(reference.digest).toBe(last.digest)
  const chunks = reference.chunks.map((name) => stored.chunks.get(name) ?? new Uint8Array())
  expect(artifactDigest(openArtifact(reference, chunks))).toBe(last.digest)
  const incomplete = await renderer.render(noManifest, options)
  expect(await renderer.carryOver(stored, incomplete, 'shop')).toEqual({ content: last.content, digest: last.digest })
  const bad = { ...stored, chunks: new Map([...stored.chunks].map(([name]) => [name, new Uint8Array(9)])) }
  await expect(renderer.carryOver(bad, incomplete, 'shop')).rejects.toMatchObject({ code: 'ArtifactCorrupt' })
})

test('files that would take gigabytes of memory are refused before they do, and the hub lives on', async () => {
  renderer = createRenderer({ logger: silentLogger })
  for (const each of hostile) {
    const { problems } = await renderer.render(each, options)
    expect(problems.map(({ code }) => code)).toEqual(['LimitExceeded'])
  }
  expect(process.memoryUsage().rss).toBeLessThan(1_500_000_000)
})

test('a render that takes too long fails alone, and the next ones are rendered', async () => {
  renderer = createRenderer({ logger: silentLogger, workers: 1, timeoutMs: 500 })
  const slow = renderer.render(heavy, options)
  const next = renderer.render(good, options)
  await expect(slow).rejects.toMatchObject({ code: 'LimitExceeded' })
  await expect(next).resolves.toMatchObject({ incomplete: false })
})

test('a render is given up when its signal aborts, before or while it runs, and at stop', async () => {
  renderer = createRenderer({ logger: silentLogger, workers: 1 })
  await expect(renderer.render(good, options, AbortSignal.abort())).rejects.toMatchObject({ code: 'Aborted' })
  const controller = new AbortController()
  const running = renderer.render(heavy, options, controller.signal)
  const waiting = renderer.render(heavy, options, controller.signal)
  controller.abort()
  await expect(running).rejects.toMatchObject({ code: 'Aborted' })
  await expect(waiting).rejects.toMatchObject({ code: 'Aborted' })
  await expect(renderer.render(good, options)).resolves.toMatchObject({ incomplete: false })
  const last = renderer.render(heavy, options)
  await Promise.all([expect(last).rejects.toMatchObject({ code: 'Aborted' }), renderer.stop()])
  await expect(renderer.render(good, options)).rejects.toMatchObject({ code: 'Unavailable' })
})
