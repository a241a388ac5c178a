// What a repository refers to: submodules, and contents of Git LFS, by real git and a real batch API.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, rmSync, truncateSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import path from 'node:path'
import type { GitRepository } from '@fairlead/e2e/harness/git-server'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openTrackerBed, type TrackerBed } from './tracker.test-support.ts'

let bed: TrackerBed

beforeEach(async () => {
  bed = await openTrackerBed()
})
afterEach(async () => {
  await bed[Symbol.asyncDispose]()
})

/** Adds or moves a submodule and pushes; `url` is what .gitmodules says. */
function link(repository: GitRepository, folder: string, url: string, oid: string): string {
  repository.git('config', '-f', '.gitmodules', `submodule.${folder}.path`, folder)
  repository.git('config', '-f', '.gitmodules', `submodule.${folder}.url`, url)
  repository.git('add', '.gitmodules')
  repository.git('update-index', '--add', '--cacheinfo', `160000,${oid},${folder}`)
  repository.git('commit', '-q', '--allow-empty', '-m', 'submodule')
  repository.git('push', '-q', 'origin', 'main')
  return repository.git('rev-parse', 'HEAD')
}

const skippedOf = async (commit: string) =>
  (await bed.tracker.readTree('shop', commit, '', new AbortController().signal)).skipped.map(
    ({ path: file, message }) => [file, message],
  )

test('submodules, and theirs, are fetched where the definition asks for it, and read like folders', async () => {
  bed.git.credentials = { username: 'bot', password: 'hunter2' }
  const [leaf, lib, shop] = ['leaf', 'lib', 'shop'].map((name) => bed.git.createRepository(name)) as [
    GitRepository,
    GitRepository,
    GitRepository,
  ]
  const leafCommit = leaf.commit({ 'c.yaml': 'c: 1\n' })
  lib.commit({ 'b.yaml': 'b: 1\n' })
  const libCommit = link(lib, 'leaf', '../leaf.git', leafCommit)
  shop.commit({ 'a.yaml': 'a: 1\n' })
  const first = link(shop, 'libs/lib', '../lib.git', libCommit)
  await bed.follow('shop')
  const options = { credentials: { folders: [], environment: { FAIRLEAD_GIT_SHOP: 'bot:hunter2' } } }
  await bed.start(options)
  const spec = { url: shop.url, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } }
  await bed.define('shop', spec)
  await bed.seen(first, 'shop')
  const signal = new AbortController().signal
  expect(await skippedOf(first)).toEqual([['libs/lib', expect.stringContaining('spec.submodules')]])
  const [before] = await bed.tracker.findTreeOids('shop', first, [''], signal)
  await bed.define('shop', { ...spec, submodules: {} })
  const second = link(shop, 'libs/lib', '../lib.git', libCommit)
  bed.tracker.refresh('shop')
  await bed.seen(second, 'shop')
  expect(await bed.textOf('shop', second, 'libs/lib/b.yaml')).toBe('b: 1\n')
  expect(await bed.textOf('shop', second, 'libs/lib/leaf/c.yaml')).toBe('c: 1\n')
  expect(await skippedOf(second)).toEqual([])
  expect((await bed.tracker.findTreeOids('shop', first, [''], signal))[0]).not.toBe(before)
  rmSync(path.join(bed.gitDir, 'shop.git'), { recursive: true })
  expect(await bed.textOf('shop', second, 'libs/lib/leaf/c.yaml')).toBe('c: 1\n')
  link(lib, 'leaf', '../leaf.git', leafCommit)
  const third = link(shop, 'libs/lib', '../lib.git', lib.head())
  bed.tracker.refresh('shop')
  await bed.seen(third, 'shop')
  expect(await bed.textOf('shop', third, 'libs/lib/leaf/c.yaml')).toBe('c: 1\n')
}, 60_000)

test('a submodule elsewhere, or that cannot be fetched, stops that commit with its path, and asks no undeclared host', async () => {
  const shop = bed.git.createRepository('shop')
  const first = shop.commit({ 'a.yaml': 'a: 1\n' })
  const asked: (string | undefined)[] = []
  const other = await bed.serve((request, response) => {
    asked.push(request.headers.authorization)
    response.writeHead(404).end()
  })
  await bed.follow('shop')
  await bed.start({ credentials: { folders: [], environment: { FAIRLEAD_GIT_SHOP: 'bot:hunter2' } } })
  const spec = { url: shop.url, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } }
  await bed.define('shop', { ...spec, submodules: {} })
  await bed.seen(first, 'shop')
  link(shop, 'lib', `${other}/lib.git`, 'a'.repeat(40))
  bed.tracker.refresh('shop')
  await bed.broken('shop', 'UnsafePath', 'submodule lib')
  expect(asked).toEqual([])
  await bed.define('shop', { ...spec, submodules: { hosts: [other.replace('http://', '')] } })
  await bed.broken('shop', 'RepositoryNotFound', 'submodule lib')
  expect(new Set(asked)).toEqual(new Set([undefined]))
  for (const url of ['file:///etc', 'ext::sh -c id', '--upload-pack=id']) {
    link(shop, 'lib', url, 'a'.repeat(40))
    bed.tracker.refresh('shop')
    await bed.broken('shop', 'UnsafePath', 'submodule lib')
  }
  shop.git('rm', '-q', '--cached', 'lib')
  shop.git('commit', '-q', '-m', 'without')
  shop.git('push', '-q', 'origin', 'main')
  bed.tracker.refresh('shop')
  await bed.seen(shop.git('rev-parse', 'HEAD'), 'shop')
}, 60_000)

/** A batch API whose downloads are at `mediaUrl` and need a header of their own. */
function lfsServer(
  contents: ReadonlyMap<string, Buffer>,
  mediaUrl: () => string,
  seen: (string | undefined)[],
): RequestListener {
  return async (request, response) => {
    if (request.url?.startsWith('/media/')) {
      seen.push(request.headers.authorization)
      const content =
        request.headers['x-token'] === 'media' ? contents.get(request.url.slice('/media/'.length)) : undefined
      response.writeHead(content ? 200 : 403).end(content)
      return
    }
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { operation, objects } = JSON.parse(Buffer.concat(chunks).toString())
    const isRight = request.url === '/shop.git/info/lfs/objects/batch' && operation === 'download'
    response.writeHead(isRight ? 200 : 404, { 'content-type': 'application/vnd.git-lfs+json' })
    response.end(
      JSON.stringify({
        transfer: 'basic',
        objects: objects.map(({ oid, size }: { oid: string; size: number }) =>
          contents.has(oid)
            ? {
                oid,
                size,
                actions: { download: { href: `${mediaUrl()}/media/${oid}`, header: { 'X-Token': 'media' } } },
              }
            : { oid, size, error: { code: 404, message: 'no' } },
        ),
      }),
    )
  }
}

const pointer = (content: Buffer, oid = createHash('sha256').update(content).digest('hex')): string =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`

test('contents of Git LFS come by the batch API, from declared hosts only, are checked and kept', async () => {
  const big = randomBytes(50_000)
  const contents = new Map([[createHash('sha256').update(big).digest('hex'), big]])
  const seen: (string | undefined)[] = []
  let media = ''
  media = await bed.serve(lfsServer(contents, () => media, seen))
  const repository = bed.git.createRepository('shop')
  const commit = repository.commit({ 'web/crds.yaml': pointer(big), 'web/a.yaml': 'a: 1\n' })
  const origin = await bed.serve((request, response) => {
    if (request.url?.includes('/info/lfs/')) void lfsServer(contents, () => media, seen)(request, response as never)
    else {
      request.resume()
      response.writeHead(307, { location: `${bed.git.url}${request.url}` }).end()
    }
  })
  await bed.follow('shop')
  await bed.start({ credentials: { folders: [], environment: { FAIRLEAD_GIT_SHOP: 'bot:hunter2' } } })
  const redirectHosts = [bed.git.url.replace('http://', '')]
  const spec = { url: `${origin}/shop.git`, redirectHosts, credentials: { from: 'env:FAIRLEAD_GIT_SHOP' } }
  await bed.define('shop', spec)
  await bed.seen(commit, 'shop')
  const read = () => bed.tracker.readTree('shop', commit, 'web', new AbortController().signal)
  const without = await read()
  expect(without.skipped).toMatchObject([{ path: 'web/crds.yaml', code: 'InvalidManifest' }])
  const changed = async (lfs: { hosts?: string[] } | undefined, ready: () => Promise<boolean>): Promise<void> => {
    await bed.define('shop', { ...spec, ...(lfs && { lfs }) })
    await expect.poll(ready, { timeout: 10_000 }).toBe(true)
  }
  const failure = async (): Promise<string> =>
    await read().then(
      () => '',
      (error: Error) => error.message,
    )
  await changed({}, async () => (await failure()).includes('spec.lfs.hosts'))
  expect(seen).toEqual([])
  await changed({ hosts: [media.replace('http://', '')] }, async () => (await failure()) === '')
  const tree = await read()
  expect(tree.skipped).toEqual([])
  expect(tree.treeOid).not.toBe(without.treeOid)
  expect(Buffer.from(tree.files.find(({ path: file }) => file === 'web/crds.yaml')?.bytes ?? []).equals(big)).toBe(true)
  expect(new Set(seen)).toEqual(new Set([undefined]))
  const downloads = seen.length
  await read()
  expect(seen).toHaveLength(downloads)
  const shared = randomBytes(1_000_000)
  contents.set(createHash('sha256').update(shared).digest('hex'), shared)
  const both = repository.commit({ 'web/crds.yaml': pointer(shared) })
  bed.tracker.refresh('shop')
  await bed.seen(both, 'shop')
  const atOnce = Array.from({ length: 4 }, () =>
    bed.tracker.readTree('shop', both, 'web', new AbortController().signal),
  )
  for (const { files } of await Promise.all(atOnce))
    expect(files.find(({ path: file }) => file === 'web/crds.yaml')?.bytes).toHaveLength(shared.length)
  // A crash of the machine can leave less of a file than was written.
  for (const oid of contents.keys()) truncateSync(path.join(bed.gitDir, 'shop.git/lfs', oid))
  const healed = await bed.tracker.readTree('shop', both, 'web', new AbortController().signal)
  expect(healed.files.find(({ path: file }) => file === 'web/crds.yaml')?.bytes).toHaveLength(shared.length)
  const lie = randomBytes(100)
  const oid = 'c'.repeat(64)
  contents.set(oid, lie)
  const next = repository.commit({ 'web/crds.yaml': pointer(lie, oid) })
  bed.tracker.refresh('shop')
  await bed.seen(next, 'shop')
  await expect(bed.tracker.readTree('shop', next, 'web', new AbortController().signal)).rejects.toThrow(
    'is not what the server sends',
  )
  expect(await bed.everything()).not.toContain('hunter2')
}, 60_000)

test('contents of Git LFS are kept up to a limit, and what went is downloaded again', async () => {
  const parts = Array.from({ length: 6 }, () => randomBytes(100_000))
  const contents = new Map(parts.map((part) => [createHash('sha256').update(part).digest('hex'), part]))
  const seen: (string | undefined)[] = []
  let origin = ''
  const lfs = lfsServer(contents, () => origin, seen)
  origin = await bed.serve((request, response) => {
    if (request.url?.includes('/info/lfs/') || request.url?.startsWith('/media/')) {
      void lfs(request, response)
      return
    }
    request.resume()
    response.writeHead(307, { location: `${bed.git.url}${request.url}` }).end()
  })
  const repository = bed.git.createRepository('shop')
  const files = parts.map((part, index) => [`app-${index}/crds.yaml`, pointer(part)] as const)
  const commit = repository.commit(Object.fromEntries(files))
  await bed.follow('shop')
  await bed.start({ lfsLimits: { maxBytes: 250_000, maxFiles: 1_000 } })
  const redirectHosts = [bed.git.url.replace('http://', '')]
  await bed.define('shop', { url: `${origin}/shop.git`, redirectHosts, lfs: {} })
  await bed.seen(commit, 'shop')
  const folder = path.join(bed.gitDir, 'shop.git/lfs')
  const { signal } = new AbortController()
  const read = async (index: number) => {
    const tree = await bed.tracker.readTree('shop', commit, `app-${index}`, signal)
    return Buffer.from(tree.files[0]?.bytes ?? []).equals(parts[index] ?? Buffer.alloc(0))
  }
  for (let round = 0; round < 3; round++) {
    expect(await Promise.all(parts.map((_, index) => read(index)))).toEqual(parts.map(() => true))
    await expect.poll(() => readdirSync(folder).length, { timeout: 10_000 }).toBeLessThanOrEqual(2)
  }
  expect(seen.length).toBeGreaterThan(parts.length)
}, 60_000)
