// Artifacts signed by the real cosign, in both of the forms that it writes.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { type RegistryServer, startRegistry } from '@fairlead/e2e/harness/registry'
import { run } from '@fairlead/e2e/tools/go-build'
import { ensureTools } from '@fairlead/e2e/tools/tools'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openTrackerBed, type TrackerBed } from '../tracker.test-support.ts'

type Key = { readonly file: string; readonly pem: string }

let registry: RegistryServer
let bed: TrackerBed
let cosign: string
let ours: Key
let theirs: Key
let names = 0

beforeAll(async () => {
  cosign = (await ensureTools(['cosign'])).cosign
  registry = await startRegistry()
  ours = await generateKey()
  theirs = await generateKey()
}, 600_000)
afterAll(() => registry?.stop())

beforeEach(async () => {
  bed = await openTrackerBed()
})
afterEach(() => bed[Symbol.asyncDispose]())

const freshName = (): string => `signed/app-${++names}`

async function runCosign(args: readonly string[], folder: string): Promise<void> {
  const env = { HOME: folder, COSIGN_PASSWORD: '', COSIGN_YES: 'true', PATH: process.env.PATH ?? '' }
  const { status, output } = await run(cosign, args, { env })
  if (status !== 0) throw new Error(`cosign ${args[0]}: ${output}`)
}

async function generateKey(): Promise<Key> {
  const folder = makeRunFolder('cosign')
  const prefix = path.join(folder, 'key')
  await runCosign(['generate-key-pair', '--output-key-prefix', prefix], folder)
  return { file: `${prefix}.key`, pem: readFileSync(`${prefix}.pub`, 'utf8') }
}

/** `bundle` is what cosign 3 writes by default, `tag` what it wrote before. */
async function sign(name: string, digest: string, key: Key, form: 'bundle' | 'tag'): Promise<void> {
  const target = `${registry.behind}/${name}@sha256:${digest}`
  const config = path.join(path.dirname(key.file), 'signing.json')
  if (form === 'bundle') {
    // Neither a transparency log nor a time stamp: nothing of the test leaves the machine.
    await runCosign(['signing-config', 'create', '--out', config], path.dirname(key.file))
  }
  const how =
    form === 'bundle'
      ? ['--signing-config', config]
      : ['--new-bundle-format=false', '--use-signing-config=false', '--tlog-upload=false']
  await runCosign(['sign', '--key', key.file, ...how, '--allow-http-registry', target], path.dirname(key.file))
}

test.for(['bundle', 'tag'] as const)(
  'an artifact that is signed by a key of the definition is taken, as %s',
  async (form) => {
    const name = freshName()
    const first = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
    await sign(name, first, theirs, form)
    await sign(name, first, ours, form)
    await bed.define('app', { url: registry.urlOf(name), verify: { cosignKeys: ours.pem } })
    await bed.follow('app')
    await bed.start()
    await bed.seen(first, 'app')
  },
)

test('a registry that lists what refers to an artifact is asked for that', async () => {
  const name = freshName()
  const digest = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  await sign(name, digest, ours, 'bundle')
  // The test registry knows the older way only: a tag that lists the same.
  const index = Buffer.from(JSON.stringify(await registry.readJson(name, `manifests/sha256-${digest}`)))
  registry.tamper = (file) =>
    file === `/v2/${name}/referrers/sha256:${digest}` ? index : file.endsWith(`sha256-${digest}`) ? 500 : undefined
  await bed.define('app', { url: registry.urlOf(name), verify: { cosignKeys: ours.pem } })
  await bed.follow('app')
  await bed.start()
  await bed.seen(digest, 'app')
  registry.tamper = undefined
})

test('one that is not signed, or by somebody else, is not taken, and what was had stays', async () => {
  const name = freshName()
  const first = await registry.publish(name, 'main', { 'a.yaml': 'a: 1\n' })
  await sign(name, first, ours, 'bundle')
  await bed.define('app', { url: registry.urlOf(name), verify: { cosignKeysFrom: 'env:FAIRLEAD_GIT_KEYS' } })
  await bed.follow('app')
  const environment: Record<string, string> = { FAIRLEAD_GIT_KEYS: ours.pem }
  await bed.start({ credentials: { folders: [], environment } })
  await bed.seen(first, 'app')
  const second = await registry.publish(name, 'main', { 'a.yaml': 'a: 2\n' })
  bed.tracker.refresh('app')
  await bed.broken('app', 'SignatureRejected', 'is not signed')
  await sign(name, second, theirs, 'tag')
  bed.tracker.refresh('app')
  await bed.broken('app', 'SignatureRejected', '1 signature, none of which is by a key of spec.verify')
  expect(await bed.commitOf('app')).toBe(first)
  environment.FAIRLEAD_GIT_KEYS = 'nonsense'
  bed.tracker.refresh('app')
  await bed.broken('app', 'SignatureRejected', 'keys of spec.verify cannot be read')
  environment.FAIRLEAD_GIT_KEYS = `${ours.pem}${theirs.pem}`
  bed.tracker.refresh('app')
  await bed.seen(second, 'app')
})

test.for(['bundle', 'tag'] as const)(
  'a signature of another artifact, put beside this one as %s, counts for nothing',
  async (form) => {
    const name = freshName()
    const signed = await registry.publish(name, 'signed', { 'a.yaml': 'a: 1\n' })
    await sign(name, signed, ours, form)
    const evil = await registry.publish(name, 'main', { 'a.yaml': 'evil: 1\n' })
    const tagOf = (digest: string): string => `sha256-${digest}${form === 'tag' ? '.sig' : ''}`
    await registry.putManifest(name, tagOf(evil), await registry.readJson(name, `manifests/${tagOf(signed)}`))
    await bed.define('app', { url: registry.urlOf(name), verify: { cosignKeys: ours.pem } })
    await bed.follow('app')
    await bed.follow('app', 'signed')
    await bed.start()
    await bed.seen(signed, 'app', 'signed')
    await bed.broken('app', 'SignatureRejected', '1 signature, none of which')
  },
)
