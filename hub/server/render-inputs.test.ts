// What is read for a render, from a repository that a test writes down.
import { AppError } from '@fairlead/shared/errors'
import { expect, test } from 'vitest'
import { INPUTS_MAX_PATHS, InputsReader, type TreeReader } from './render-inputs.ts'

const { signal } = new AbortController()

/** Files by folder; a folder that is an error cannot be read. */
function treesOf(folders: Readonly<Record<string, Record<string, Uint8Array> | AppError>>): TreeReader {
  return {
    readTree: async (_repository, commit, path) => {
      const folder = folders[path] ?? new AppError('PathNotFound', `no folder ${path}`)
      if (folder instanceof AppError) throw folder
      const files = Object.entries(folder).map(([name, bytes]) => ({ path: `${path}/${name}`, mode: '100644', bytes }))
      return { commit, treeOid: `oid of ${path}`, files, skipped: [] }
    },
    findTreeOids: async () => [],
    findChart: async () => ({ repository: 'charts', commit: 'd' }),
    findBase: async () => 'bases',
  }
}

function readerOf(folders: Parameters<typeof treesOf>[0]): InputsReader {
  return new InputsReader(treesOf(folders), { repository: 'shop', commit: 'c', path: 'app' })
}

test('what was read is told with what Git has there, and with nothing for what is not there', async () => {
  const reader = readerOf({
    app: { 'a.yaml': Buffer.from('a') },
    lib: { 'b.yaml': Buffer.from('b') },
    evil: new AppError('UnsafePath', 'the link leads out of the repository'),
  })
  await reader.readOwn(signal)
  await reader.readMore(['lib', 'gone', 'evil'], signal)
  expect(reader.read).toEqual([
    ['app', 'oid of app'],
    ['lib', 'oid of lib'],
    ['gone', null],
    ['evil', null],
  ])
  expect(reader.inputs).toMatchObject({
    read: ['app', 'lib', 'gone', 'evil'],
    files: [{ path: 'app/a.yaml' }, { path: 'lib/b.yaml' }],
    skipped: [{ path: 'evil', kind: 'symlink', code: 'UnsafePath' }],
  })
})

test('an application whose own folder is not there cannot be rendered', async () => {
  await expect(readerOf({}).readOwn(signal)).rejects.toMatchObject({ code: 'PathNotFound' })
})

test('what cannot be told yet is not taken for missing', async () => {
  const reader = readerOf({ app: {}, lib: new AppError('FetchFailed', 'damaged') })
  await reader.readOwn(signal)
  await expect(reader.readMore(['lib'], signal)).rejects.toMatchObject({ code: 'FetchFailed' })
})

test('an application cannot refer to more than the limits allow', async () => {
  const big = { 'x.bin': new Uint8Array(40 * 1024 * 1024) }
  const reader = readerOf({ app: big, lib: big })
  await reader.readOwn(signal)
  await expect(reader.readMore(['lib'], signal)).rejects.toMatchObject({
    code: 'LimitExceeded',
    message: expect.stringContaining('bytes of its repository'),
  })
  const many = readerOf({ app: {} })
  await many.readOwn(signal)
  const paths = Array.from({ length: INPUTS_MAX_PATHS + 1 }, (_, index) => `gone${index}`)
  await expect(many.readMore(paths, signal)).rejects.toMatchObject({ code: 'LimitExceeded' })
})
