import { AppError } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import { FolderCache } from './folder-cache.ts'
import { type GitObject, hashObject, type ObjectSource, type ObjectType } from './git-object.ts'
import { findTreeOid, normalizePath, readSourceTree, TREE_MAX_FILE_BYTES, TREE_MAX_FILES } from './source-reader.ts'

/** A folder: text is a file, an object a folder, the rest is spelled out. */
type Folder = { readonly [name: string]: string | Folder | { readonly mode: string; readonly text: string } | Buffer }

class Objects implements ObjectSource {
  readonly #objects = new Map<string, GitObject>()

  find(oid: string, maxBytes = Number.POSITIVE_INFINITY): GitObject | undefined {
    const object = this.#objects.get(oid)
    if (object && object.data.length > maxBytes) throw new AppError('LimitExceeded', 'too large')
    return object
  }

  add(type: ObjectType, data: Buffer): string {
    const oid = hashObject(type, data)
    this.#objects.set(oid, { type, data })
    return oid
  }

  folder(folder: Folder): string {
    const parts = Object.entries(folder).map(([name, content]) => {
      const [mode, oid] = this.#entry(content)
      return Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(oid, 'hex')])
    })
    return this.add('tree', Buffer.concat(parts))
  }

  commit(folder: Folder): string {
    return this.add('commit', Buffer.from(`tree ${this.folder(folder)}\nauthor x\n\nmessage\n`))
  }

  #entry(content: Folder[string]): [string, string] {
    if (typeof content === 'string') return ['100644', this.add('blob', Buffer.from(content))]
    if (Buffer.isBuffer(content)) return ['100755', this.add('blob', content)]
    if (typeof content.mode !== 'string') return ['40000', this.folder(content as Folder)]
    const { mode, text } = content as { mode: string; text: string }
    return mode === '160000' ? [mode, 'a'.repeat(40)] : [mode, this.add('blob', Buffer.from(text))]
  }
}

const link = (text: string) => ({ mode: '120000', text })

const folders = new FolderCache()

function read(folder: Folder, path = 'app') {
  const objects = new Objects()
  const commit = objects.commit(folder)
  const tree = readSourceTree(objects, commit, path)
  // What is remembered of other repositories and of the last look changes nothing.
  for (let look = 0; look < 2; look++) expect(findTreeOid(objects, commit, path, { folders })).toBe(tree.treeOid)
  return {
    oid: tree.treeOid,
    cheapOid: findTreeOid(objects, commit, path),
    files: Object.fromEntries(tree.files.map((file) => [file.path, Buffer.from(file.bytes).toString()])),
    modes: tree.files.map(({ mode }) => mode),
    skipped: tree.skipped.map(({ path: where, kind, code }) => `${kind} ${where} ${code}`),
  }
}

test('whether a submodule is a folder is looked at again, whatever is remembered', () => {
  const objects = new Objects()
  const own = new FolderCache()
  const library = objects.commit({ 'b.yaml': 'b: 1' })
  const gitlink = Buffer.concat([Buffer.from('160000 lib\0'), Buffer.from(library, 'hex')])
  const app = objects.add('tree', gitlink)
  const root = objects.add('tree', Buffer.concat([Buffer.from('40000 app\0'), Buffer.from(app, 'hex')]))
  const commit = objects.add('commit', Buffer.from(`tree ${root}\nauthor x\n\nmessage\n`))
  const without: ObjectSource = { find: (oid) => (oid === library ? undefined : objects.find(oid)) }
  for (const source of [without, objects, without]) {
    for (const path of ['', 'app']) {
      const plain = findTreeOid(source, commit, path)
      expect(findTreeOid(source, commit, path, { folders: own })).toBe(plain)
      expect(plain.includes('+submodules')).toBe(source === objects)
    }
  }
})

test('a folder on the way is read once for many paths, and a plain one never again', () => {
  const objects = new Objects()
  const own = new FolderCache()
  const names = Array.from({ length: 20 }, (_, index) => `app-${index}`)
  const commit = objects.commit(Object.fromEntries(names.map((name) => [name, { 'a.yaml': name }])))
  let reads = 0
  const counting: ObjectSource = {
    find: (oid) => {
      reads++
      return objects.find(oid)
    },
  }
  const look = () => names.map((name) => findTreeOid(counting, commit, name, { folders: own }))
  const first = look()
  // The commit for each, the root once, and each folder.
  expect(reads).toBe(20 + 1 + 20)
  reads = 0
  expect(look()).toEqual(first)
  expect(reads).toBe(20)
})

test('contents of Git LFS count before they are downloaded', () => {
  const objects = new Objects()
  const pointer = (n: number) =>
    `version https://git-lfs.github.com/spec/v1\noid sha256:${String(n).repeat(64)}\nsize ${TREE_MAX_FILE_BYTES}\n`
  const files = Object.fromEntries([1, 2, 3, 4].map((n) => [`${n}.yaml`, pointer(n)]))
  const options = { lfsFolder: '/nowhere' }
  expect(readSourceTree(objects, objects.commit({ app: files }), 'app', options).missingLfs).toHaveLength(4)
  const more = objects.commit({ app: { ...files, '5.yaml': pointer(5) } })
  expect(() => readSourceTree(objects, more, 'app', options)).toThrow(
    expect.objectContaining({ code: 'LimitExceeded' }),
  )
})

test('files are read sorted, with their modes, and nothing from beside the path', () => {
  const { files, modes, oid, cheapOid } = read({
    app: { 'b.yaml': 'b', a: { 'z.yaml': 'z' }, 'run.sh': Buffer.from('#!') },
    application: { 'x.yaml': 'x' },
  })
  expect(files).toEqual({ 'app/a/z.yaml': 'z', 'app/b.yaml': 'b', 'app/run.sh': '#!' })
  expect(Object.keys(files)).toEqual(['app/a/z.yaml', 'app/b.yaml', 'app/run.sh'])
  expect(modes).toEqual(['100644', '100644', '100755'])
  expect(oid).toMatch(/^[0-9a-f]{40}$/)
  expect(cheapOid).toBe(oid)
})

test('links inside the repository are followed: files, folders, chains, and a link as the path itself', () => {
  const folder: Folder = {
    app: { 'a.yaml': link('../shared/a.yaml'), dir: link('../shared/dir'), chain: link('dir') },
    shared: { 'a.yaml': 'A', dir: { 'b.yaml': 'B' } },
    alias: link('app'),
  }
  expect(read(folder).files).toEqual({ 'app/a.yaml': 'A', 'app/chain/b.yaml': 'B', 'app/dir/b.yaml': 'B' })
  expect(read(folder, 'alias').files['alias/dir/b.yaml']).toBe('B')
  expect(read(folder, 'alias/dir/b.yaml').files).toEqual({ 'alias/dir/b.yaml': 'B' })
})

test('the tree id changes when what a link leads to changes, also outside the folder', () => {
  const folder = (text: string): Folder => ({ app: { a: link('../shared') }, shared: text })
  expect(read(folder('1')).oid).not.toBe(read(folder('2')).oid)
  expect(read(folder('1')).oid).toBe(read(folder('1')).oid)
  expect(read(folder('1')).oid).toBe(read(folder('1')).cheapOid)
  expect(read({ app: { a: 'x' }, other: '1' }).oid).toBe(read({ app: { a: 'x' }, other: '2' }).oid)
})

test.each([
  ['an absolute link', '/etc/passwd', 'UnsafePath'],
  ['a link above the root', '../../etc/passwd', 'UnsafePath'],
  ['a link that leaves and comes back', '../../repository/app/a.yaml', 'UnsafePath'],
  ['a link to itself', 'evil', 'UnsafePath'],
  ['a link to its own folder', '.', 'UnsafePath'],
  ['a link to the folder above', '..', 'UnsafePath'],
  ['a dangling link', 'nowhere', 'PathNotFound'],
  ['a link through a file', 'a.yaml/b', 'PathNotFound'],
  ['an empty link', '', 'UnsafePath'],
  ['a link with a zero byte', 'a\0b', 'UnsafePath'],
  ['a very long link', 'a/'.repeat(3000), 'UnsafePath'],
])('%s is skipped with its reason, and the rest is read', (_, target, code) => {
  const { files, skipped } = read({ app: { 'a.yaml': 'a', evil: link(target) } })
  expect(files).toEqual({ 'app/a.yaml': 'a' })
  expect(skipped).toEqual([`symlink app/evil ${code}`])
})

test('links in a circle end', () => {
  const { skipped } = read({ app: { a: link('b'), b: link('c'), c: link('a') } })
  expect(skipped).toHaveLength(3)
})

test('folders that link to each other do not grow without end', () => {
  const folder: Record<string, Folder> = {}
  for (let level = 0; level < 30; level++) {
    const entries = Array.from({ length: 10 }, (_, index) => [`l${index}`, link(`../d${level + 1}`)])
    folder[`d${level}`] = Object.fromEntries(entries)
  }
  expect(() => read({ ...folder, d30: { a: 'x' } }, 'd0')).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
})

test('submodules, LFS pointers, large files and names that lead out are skipped and told of', () => {
  const { files, skipped } = read({
    app: {
      'a.yaml': 'a',
      lib: { mode: '160000', text: '' },
      'model.yaml': 'version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n',
      'large.yaml': Buffer.alloc(TREE_MAX_FILE_BYTES + 1, 'x'),
      '..': { x: 'evil' },
      '.': 'evil',
      'b/c': 'evil',
    },
  })
  expect(files).toEqual({ 'app/a.yaml': 'a' })
  expect(skipped).toEqual([
    'file app/. UnsafePath',
    'file app/.. UnsafePath',
    'file app/b/c UnsafePath',
    'file app/large.yaml LimitExceeded',
    'submodule app/lib InvalidManifest',
    'file app/model.yaml InvalidManifest',
  ])
})

test('too many files are refused', () => {
  const many = Object.fromEntries(Array.from({ length: TREE_MAX_FILES + 1 }, (_, index) => [`${index}`, 'x']))
  expect(() => read({ app: many })).toThrow(expect.objectContaining({ code: 'LimitExceeded' }))
})

test('a path that is not there, leads out or is a submodule is refused by its code', () => {
  const folder: Folder = { app: { a: 'x' }, out: link('../x'), lib: { mode: '160000', text: '' } }
  for (const [path, code] of [
    ['nowhere', 'PathNotFound'],
    ['app/a/b', 'PathNotFound'],
    ['lib', 'PathNotFound'],
    ['out', 'UnsafePath'],
    ['../app', 'UnsafePath'],
    ['/app', 'UnsafePath'],
    ['app/../app', 'UnsafePath'],
  ] as const) {
    expect(() => read(folder, path)).toThrow(expect.objectContaining({ code }))
  }
  expect(read(folder, 'app/a').files).toEqual({ 'app/a': 'x' })
})

test('paths are normalized', () => {
  expect(['', '.', './', 'a/', './a//b/.', 'a'].map(normalizePath)).toEqual(['', '', '', 'a', 'a/b', 'a'])
})
