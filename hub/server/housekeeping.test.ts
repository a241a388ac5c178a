import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger, silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keepHouse } from './housekeeping.ts'
import { openPki } from './pki/pki.ts'
import { openStore, type Store } from './store/store.ts'

const DAY_MS = 86_400_000

let directory: string
let store: Store
let certificate: string
let lines: string[]
const logger = createLogger({ name: 'hub', stream: { write: (line) => void lines.push(line) } })

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'fairlead-housekeeping-'))
  certificate = (await openPki(directory, [])).serverChainPem
  store = await openStore(':memory:', { logger: silentLogger })
  lines = []
})

afterEach(async () => {
  await store.close()
  rmSync(directory, { recursive: true })
})

test('audit rows are kept for 90 days, however many there are', async () => {
  const nowMs = 200 * DAY_MS
  const row = { actor: 'admin', action: 'a', object: 'o', detail: '{}' }
  const old = Array.from({ length: 6_000 }, () => ({ ...row, at: nowMs - 90 * DAY_MS - 1 }))
  for (let start = 0; start < old.length; start += 1_000) {
    await store.db
      .insertInto('audit')
      .values(old.slice(start, start + 1_000))
      .execute()
  }
  await store.db
    .insertInto('audit')
    .values({ ...row, at: nowMs - 90 * DAY_MS })
    .execute()
  await keepHouse({ store, certificate, logger }, nowMs)
  expect(await store.db.selectFrom('audit').select('at').execute()).toEqual([{ at: nowMs - 90 * DAY_MS }])
})

test('a certificate that ends within 90 days is warned of, and a newer one is not', async () => {
  await keepHouse({ store, certificate, logger }, Date.now() + 600 * DAY_MS)
  expect(lines).toEqual([])
  await keepHouse({ store, certificate, logger }, Date.now() + 660 * DAY_MS)
  expect(lines.join()).toMatch(/"warn".*"expiresAt":"20.*certificate ends soon: restart the hub/)
})
