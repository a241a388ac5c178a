import { fromBinary } from '@bufbuild/protobuf'
import { ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { artifactDigest, openArtifact } from '@fairlead/shared/artifact'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, expect, test, vi } from 'vitest'
import { inputsOf } from './render.test-support.ts'
import type { RenderInputs } from './render.ts'
import { createRenderer, type RenderedApplication, type Renderer } from './renderer.ts'

// Threads start slowly on a busy machine.
vi.setConfig({ testTimeout: 60_000 })

let renderer: Renderer | undefined
afterEach(() => renderer?.stop())

const options = { application: 'web', path: '', namespace: 'shop' }

function tree(content: string): RenderInputs {
  const bytes = new Uint8Array(new SharedArrayBuffer(Buffer.byteLength(content)))
  new TextEncoder().encodeInto(content, bytes)
  return { read: [''], files: [{ path: 'a.yaml', mode: '100644', bytes }], skipped: [] }
}

function manyFiles(content: string, count: number): RenderInputs {
  const one = tree(content)
  const files = Array.from({ length: count }, (_, index) =>
    one.files.map((file) => ({ ...file, path: `${index}.yaml` })),
  )
  return { ...one, files: files.flat() }
}

function whole(answer: Awaited<ReturnType<Renderer['render']>>): RenderedApplication {
  if ('needs' in answer) throw new Error(`${answer.needs.join(', ')} must be read before`)
  return answer
}

const good = tree('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n')
const noManifest = tree('x: [1]\n')
/** As many values as are allowed, again and again: seconds of work. */
const heavy = manyFiles(`a: [${'[],'.repeat(490_000)}]`, 20)
/** Many more than are allowed: without that limit they would take gigabytes. */
const hostile = ['[],', '- \n', '---\n', 'a,', '{a: b},', '? \n'].map((text) => tree(text.repeat(5_000_000)))

test('a render in a worker gives the artifact, its digest and the problems', async () => {
  renderer = createRenderer({ logger: silentLogger })
  const rendered = whole(await renderer.render(good, options))
  const artifact = fromBinary(ArtifactSchema, rendered.content)
  expect(artifact.manifests).toHaveLength(1)
  expect(rendered.objects).toBe(1)
  expect(rendered.digest).toBe(artifactDigest(artifact))
  expect(rendered.incomplete).toBe(false)
  const broken = whole(await renderer.render(noManifest, options))
  expect(broken).toMatchObject({ incomplete: true })
  expect(broken.problems[0]).toMatchObject({ code: 'InvalidManifest', source: { file: 'a.yaml', line: 1 } })
})

test('an artifact is sealed, opened and joined with an incomplete render in a worker', async () => {
  renderer = createRenderer({ logger: silentLogger })
  const last = whole(await renderer.render(good, options))
  const stored = await renderer.seal(last)
  const reference = fromBinary(ArtifactReferenceSchema, stored.reference)
  expect(reference.digest).toBe(last.digest)
  const chunks = reference.chunks.map((name) => stored.chunks.get(name) ?? new Uint8Array())
  expect(artifactDigest(openArtifact(reference, chunks))).toBe(last.digest)
  const incomplete = whole(await renderer.render(noManifest, options))
  expect(await renderer.carryOver(stored, incomplete, 'shop')).toEqual({ content: last.content, digest: last.digest })
  const bad = { ...stored, chunks: new Map([...stored.chunks].map(([name]) => [name, new Uint8Array(9)])) }
  await expect(renderer.carryOver(bad, incomplete, 'shop')).rejects.toMatchObject({ code: 'ArtifactCorrupt' })
})

test('files that would take gigabytes of memory are refused before they do, and the hub lives on', async () => {
  renderer = createRenderer({ logger: silentLogger })
  for (const each of hostile) {
    const { problems } = whole(await renderer.render(each, options))
    expect(problems.map(({ code }) => code)).toEqual(['LimitExceeded'])
  }
  expect(process.memoryUsage().rss).toBeLessThan(1_500_000_000)
})

test('a render that takes too long fails alone, and the next ones are rendered', async () => {
  renderer = createRenderer({ logger: silentLogger, workers: 1, timeoutMs: 500 })
  const slow = renderer.render(heavy, options)
  const next = renderer.render(good, options)
  await expect(slow).rejects.toMatchObject({ code: 'RenderTimeout' })
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

const chart = {
  'Chart.yaml': 'apiVersion: v2\nname: web\nversion: 1.0.0\n',
  'templates/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n',
}
/** Each of these would take a machine along. */
const runaway = {
  memory: '{{ $x := "aaaaaaaaaa" }}{{ range until 40 }}{{ $x = print $x $x }}{{ end }}{{ $x }}',
  list: '{{ range until 2000000000 }}{{ . }}{{ end }}',
  recursion: '{{ define "r" }}{{ include "r" . }}{{ end }}{{ include "r" . }}',
  output: '{{ range until 100000 }}{{ repeat 1000 "x" }}{{ end }}',
}
const endless = '{{ range until 10000 }}{{ range until 10000 }}{{ range until 10000 }}{{ end }}{{ end }}{{ end }}'

/** What a chart with this template is told; after it a good one is rendered. */
async function tell(renderer: Renderer, template: string): Promise<string> {
  const inputs = inputsOf({ ...chart, 'templates/b.yaml': template }, [''])
  const outcome = await renderer.render(inputs, options).then(whole, (error: unknown) => toAppError(error))
  const { code, message } = outcome instanceof AppError ? outcome : (outcome.problems[0] ?? { code: '', message: '' })
  expect(whole(await renderer.render(inputsOf(chart, ['']), options))).toMatchObject({ objects: 1, problems: [] })
  return `${code}: ${message}`
}

test('a chart that takes all memory dies alone, is told why, and the next one is rendered', {
  timeout: 200_000,
}, async () => {
  // How long it takes to use up memory depends on what else the machine does.
  renderer = createRenderer({ logger: silentLogger, workers: 1, engineTimeoutMs: 150_000 })
  const told: Record<string, string> = {}
  for (const [name, template] of Object.entries(runaway)) told[name] = await tell(renderer, template)
  expect(told).toMatchObject({
    memory: 'LimitExceeded: rendering needs more than 512 MB of memory',
    list: 'LimitExceeded: rendering needs more than 512 MB of memory',
    recursion: expect.stringMatching(
      /^RenderFailed: Helm: template: web.templates.b.yaml:1:.* … .*nested reference name/,
    ),
    output: expect.stringMatching(/^LimitExceeded: /),
  })
})

test('a chart without end is ended, is told why, and the next one is rendered', async () => {
  renderer = createRenderer({ logger: silentLogger, workers: 1, engineTimeoutMs: 10_000 })
  expect(await tell(renderer, endless)).toBe('RenderTimeout: not done within 10000 ms')
})

test('an engine renders again and again without growing', async () => {
  renderer = createRenderer({ logger: silentLogger, workers: 1 })
  const text = 'x'.repeat(4 * 1024 * 1024)
  for (let round = 0; round < 30; round++) {
    const files = { ...chart, 'README.md': text, 'values.yaml': `round: ${round}` }
    expect(whole(await renderer.render(inputsOf(files, ['']), options)).objects).toBe(1)
  }
})
