import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { expect, test } from 'vitest'
import { readSourceTree } from '../source-reader.ts'
import { type PackageEntry, PackageObjects } from './package-objects.ts'
import { unpack } from './unpack.ts'

type Entry = Parameters<ReturnType<typeof pack>['entry']>[0] & { readonly content?: string | Buffer }

async function tarOf(entries: Iterable<Entry>): Promise<Buffer> {
  const tar = pack()
  for (const { content = '', ...header } of entries) {
    if (header.type === undefined || header.type === 'file') tar.entry(header, content)
    else tar.entry(header)
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const unpackAll = async (entries: Iterable<Entry>, stripTopFolder = false) =>
  await unpack(gzipSync(await tarOf(entries)), { stripTopFolder })

const textsOf = (entries: ReadonlyMap<string, PackageEntry>) =>
  Object.fromEntries([...entries].map(([path, { mode, data }]) => [path, `${mode} ${data}`]))

test('files, modes and links of an archive come out, packed or not, whatever their names are', async () => {
  const long = `${'deep/'.repeat(30)}${'x'.repeat(150)}.yaml`
  const entries: Entry[] = [
    { name: './', type: 'directory' },
    { name: './a.yaml', content: 'a: 1\n' },
    { name: 'bin/run', mode: 0o755, content: '#!/bin/sh\n' },
    { name: 'links/a', type: 'symlink', linkname: '../a.yaml' },
    { name: 'b.yaml', type: 'link', linkname: 'a.yaml' },
    { name: 'ü\u{1f680}.yaml', content: 'u: 1\n' },
    { name: long, content: 'l: 1\n' },
    { name: 'a.yaml', content: 'a: 2\n' },
  ]
  const expected = {
    'a.yaml': '100644 a: 2\n',
    'bin/run': '100755 #!/bin/sh\n',
    'links/a': '120000 ../a.yaml',
    'b.yaml': '100644 a: 1\n',
    'ü\u{1f680}.yaml': '100644 u: 1\n',
    [long]: '100644 l: 1\n',
  }
  expect(textsOf(await unpackAll(entries))).toEqual(expected)
  expect(textsOf(await unpack(await tarOf(entries), { stripTopFolder: false }))).toEqual(expected)
})

test('a chart is what lies in the one folder of its archive', async () => {
  const entries: Entry[] = [
    { name: 'web/Chart.yaml', content: 'c' },
    { name: 'web/templates/a.yaml', content: 'a' },
  ]
  expect(Object.keys(textsOf(await unpackAll(entries, true)))).toEqual(['Chart.yaml', 'templates/a.yaml'])
  await expect(unpackAll([...entries, { name: 'evil/b', content: '' }], true)).rejects.toThrow('more than one folder')
  await expect(unpackAll([...entries, { name: 'loose', content: '' }], true)).rejects.toThrow('more than one folder')
})

test.for([
  ['a name that leads out', { name: '../x', content: '' }, 'leads out'],
  ['a name that leads out in the middle', { name: 'a/../../x', content: '' }, 'leads out'],
  ['a backslash', { name: 'a\\..\\x', content: '' }, 'leads out'],
  ['a device', { name: 'dev', type: 'character-device' }, 'a character-device at dev'],
  ['a pipe', { name: 'pipe', type: 'fifo' }, 'a fifo at pipe'],
  ['a hard link out', { name: 'b', type: 'link', linkname: '/etc/passwd' }, 'leads out'],
  ['a hard link to nothing', { name: 'b', type: 'link', linkname: 'a' }, 'hard link to nothing'],
  ['too many levels', { name: `${'d/'.repeat(200)}x`, content: '' }, 'nested deeper'],
] satisfies [string, Entry, string][])('an archive with %s is refused', async ([, entry, message]) => {
  await expect(unpackAll([entry])).rejects.toThrow(message)
})

test('an absolute name is refused though tar writers would take the slash away', async () => {
  const tar = await tarOf([{ name: 'aetc/passwd', content: 'x' }])
  tar.write('/', 0, 'latin1')
  // The checksum counts the bytes of the header.
  const sum = [...tar.subarray(0, 512)].reduce(
    (total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte),
    0,
  )
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  await expect(unpack(tar, { stripTopFolder: false })).rejects.toThrow('leads out')
})

test('bombs are given up: zeros without end, one huge file, too many files', async () => {
  const limits = { stripTopFolder: false, maxBytes: 1_000_000, maxEntries: 100 }
  const zeros = await tarOf([{ name: 'big', content: Buffer.alloc(20_000_000) }])
  for (const archive of [zeros, gzipSync(zeros)]) {
    await expect(unpack(archive, limits)).rejects.toMatchObject({ code: 'LimitExceeded' })
  }
  // Headers that announce nothing, for as long as anybody reads.
  const endless = gzipSync(Buffer.alloc(20_000_000))
  await expect(unpack(endless, limits)).rejects.toMatchObject({ code: 'LimitExceeded' })
  const many = Array.from({ length: 101 }, (_, index) => ({ name: `f${index}`, content: '' }))
  await expect(unpack(await tarOf(many), limits)).rejects.toThrow('more than 100 entries')
})

test('what is no archive, or cut off, or packed badly, says so', async () => {
  const whole = gzipSync(await tarOf([{ name: 'a', content: 'a'.repeat(5_000) }]))
  const broken = Buffer.from(whole)
  broken.fill(0xff, 30, 60)
  for (const archive of [Buffer.from('x'.repeat(2_000)), whole.subarray(0, whole.length / 2), broken]) {
    await expect(unpack(archive, { stripTopFolder: false })).rejects.toMatchObject({ code: 'FetchFailed' })
  }
})

test('packages are read as repositories are: links that lead out are told of, and folders have the ids that Git gives them', () => {
  const file = (text: string): PackageEntry => ({ mode: '100644', data: Buffer.from(text) })
  const entries = new Map<string, PackageEntry>([
    ['app/a.yaml', file('a: 1\n')],
    ['app.yaml', file('x: 1\n')],
    ['app/out', { mode: '120000', data: Buffer.from('../../../etc/passwd') }],
    ['app/in', { mode: '120000', data: Buffer.from('../app.yaml') }],
  ])
  const digest = 'd'.repeat(64)
  const tree = readSourceTree(new PackageObjects(digest, entries), digest, 'app')
  expect(tree.files.map(({ path, bytes }) => [path, Buffer.from(bytes).toString()])).toEqual([
    ['app/a.yaml', 'a: 1\n'],
    ['app/in', 'x: 1\n'],
  ])
  expect(tree.skipped).toMatchObject([{ path: 'app/out', code: 'UnsafePath' }])
  // git hash-object and git mktree give these.
  const plain = new PackageObjects(digest, new Map([['a.yaml', file('a: 1\n')]]))
  expect(readSourceTree(plain, digest, '').treeOid).toBe(GIT_TREE)
  expect(
    () =>
      new PackageObjects(
        digest,
        new Map([
          ['a', file('')],
          ['a/b', file('')],
        ]),
      ),
  ).toThrow('a file and a folder')
})

const GIT_TREE = '67d99b5477ce1dd758f39b41a9d3fe122dcd4a91'
