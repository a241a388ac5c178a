// The object store against git itself: packs with long chains of deltas, several packs, loose objects.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { runGit } from '@fairlead/e2e/harness/git-server'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { sha256Hex } from '@fairlead/shared/digest'
import { beforeAll, expect, test } from 'vitest'
import { hashObject } from './git-object.ts'
import { ObjectStore } from './object-store.ts'

const folder = path.join(makeRunFolder('objects'), 'repository.git')
let objects: { oid: string; type: string; size: number }[] = []

beforeAll(() => {
  mkdirSync(folder, { recursive: true })
  runGit(folder, ['init', '-q', '--bare', '--initial-branch=main'])
  // A history in which files grow a line at a time, so that git makes deltas of deltas.
  const history: string[] = []
  for (let round = 0; round < 120; round++) {
    history.push(`commit refs/heads/main\ncommitter D <d@example.com> ${1_800_000_000 + round} +0000\ndata 2\nc\n`)
    for (let file = 0; file < 10; file++) {
      // Does not compress, so that only deltas make it small.
      const text = Array.from({ length: 20 + round }, (_, line) => sha256Hex(`${file} ${line}`))
      const content = text.join('\n')
      history.push(`M 100644 inline app-${file}/web.yaml\ndata ${content.length}\n${content}\n`)
    }
  }
  execFileSync('git', ['fast-import', '--quiet'], { cwd: folder, input: history.join('') })
  runGit(folder, ['tag', '-a', '-m', 'release', 'v1'])
  runGit(folder, ['repack', '-q', '-adf', '--depth=200', '--window=50'])
  // A second pack and loose objects.
  execFileSync('git', ['fast-import', '--quiet'], {
    cwd: folder,
    input:
      'commit refs/heads/main\ncommitter D <d@example.com> 1900000000 +0000\ndata 2\nc\nfrom refs/heads/main^0\nM 100644 inline new.yaml\ndata 5\nhello\n',
  })
  execFileSync('git', ['hash-object', '-w', '--stdin'], { cwd: folder, input: 'a loose object' })
  objects = runGit(folder, ['cat-file', '--batch-check', '--batch-all-objects'])
    .split('\n')
    .map((line) => line.split(' '))
    .map(([oid = '', type = '', size = '0']) => ({ oid, type, size: Number(size) }))
})

test('every object of several packs and of loose files is read as git reads it', () => {
  expect(objects.length).toBeGreaterThan(1_000)
  const store = new ObjectStore(folder)
  for (const { oid, type, size } of objects) {
    const object = store.find(oid)
    expect(object && [object.type, object.data.length, hashObject(object.type, object.data)]).toEqual([type, size, oid])
  }
  expect(store.find('0123456789012345678901234567890123456789')).toBeUndefined()
})

test('an object that is not what its id says is damage', () => {
  const copy = path.join(makeRunFolder('objects'), 'copy.git')
  const [one, other] = objects.filter(({ type, size }) => type === 'blob' && size > 100)
  if (one === undefined || other === undefined) throw new Error('there are no two blobs')
  mkdirSync(path.join(copy, 'objects', one.oid.slice(0, 2)), { recursive: true })
  const loose = execFileSync('git', ['cat-file', 'blob', other.oid], { cwd: folder })
  runGit(copy, ['init', '-q', '--bare'])
  const oid = execFileSync('git', ['hash-object', '-w', '--stdin'], { cwd: copy, input: loose }).toString().trim()
  const from = path.join(copy, 'objects', oid.slice(0, 2), oid.slice(2))
  copyFileSync(from, path.join(copy, 'objects', one.oid.slice(0, 2), one.oid.slice(2)))
  expect(new ObjectStore(copy).find(oid)?.data.equals(loose)).toBe(true)
  expect(() => new ObjectStore(copy).find(one.oid)).toThrow(expect.objectContaining({ code: 'FetchFailed' }))
  rmSync(from)
  expect(new ObjectStore(copy).find(oid)).toBeUndefined()
})
