import { existsSync, mkdirSync, mkdtempSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LfsStore, readLfs } from './lfs-store.ts'

function makeFolder(names: readonly string[]): string {
  const folder = path.join(mkdtempSync(path.join(tmpdir(), 'lfs-')), 'lfs')
  mkdirSync(folder)
  for (const [index, name] of names.entries()) write(folder, name, index)
  return folder
}

/** 100 bytes, used `seconds` after the epoch. */
function write(folder: string, name: string, seconds: number): void {
  writeFileSync(path.join(folder, name), 'x'.repeat(100))
  utimesSync(path.join(folder, name), seconds, seconds)
}

const namesIn = (folder: string) => expect.poll(() => readdirSync(folder).sort(), { timeout: 5_000 })

test('what was used longest ago goes first, and reading is a use', async () => {
  const folder = makeFolder(['a', 'b', 'c', 'd', 'e'])
  const store = new LfsStore(folder, { maxBytes: 400, maxFiles: 100 })
  expect(readLfs(folder, { oid: 'a', sizeBytes: 100 })).toHaveLength(100)
  store.makeRoom()
  await namesIn(folder).toEqual(['a', 'd', 'e'])
})

test('many small contents are too many as well', async () => {
  const folder = makeFolder(['a', 'b', 'c', 'd', 'e', 'f'])
  new LfsStore(folder, { maxBytes: 1e9, maxFiles: 5 }).makeRoom()
  await namesIn(folder).toEqual(['c', 'd', 'e', 'f'])
})

test('nothing goes while somebody reads, whoever comes later waits, and then everybody gets on', async () => {
  const folder = makeFolder(['a', 'b', 'c'])
  const store = new LfsStore(folder, { maxBytes: 250, maxFiles: 100 })
  const reading = Promise.withResolvers<void>()
  const first = store.use(async () => {
    store.makeRoom()
    await reading.promise
    return existsSync(path.join(folder, 'a'))
  })
  let hasBegun = false
  await expect.poll(() => store.isMakingRoom, { timeout: 5_000 }).toBe(true)
  const second = store.use(async () => {
    hasBegun = true
    return existsSync(path.join(folder, 'a'))
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect([hasBegun, existsSync(path.join(folder, 'a'))]).toEqual([false, true])
  reading.resolve()
  expect(await first).toBe(true)
  expect(await second).toBe(false)
  await namesIn(folder).toEqual(['b', 'c'])
})

test('within its limits nothing goes, and a download that was cut off goes at the start', async () => {
  const folder = makeFolder(['a', 'b', 'c.1.tmp'])
  const store = new LfsStore(folder, { maxBytes: 200, maxFiles: 2 })
  await namesIn(folder).toEqual(['a', 'b'])
  store.makeRoom()
  await store.use(async () => undefined)
  expect(readdirSync(folder).sort()).toEqual(['a', 'b'])
})
