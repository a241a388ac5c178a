import { randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { diffInventory, type Inventory, type InventoryRecord } from './inventory.ts'
import { decodeInventories, encodeInventory, inventoryName } from './inventory-codec.ts'

const record = (name: string, more: Partial<InventoryRecord> = {}): InventoryRecord => ({
  group: 'apps',
  version: 'v1',
  kind: 'Deployment',
  plural: 'deployments',
  namespaced: true,
  namespace: 'shop',
  name,
  wave: 0,
  uid: randomUUID(),
  declaredHash: randomBytes(16).toString('hex'),
  entryHash: randomBytes(16).toString('base64url'),
  ...more,
})
const inventory = (records: InventoryRecord[]): Inventory => ({
  application: 'web',
  artifactDigest: 'd',
  appliedAtMs: 5,
  records,
})
const refuse = (name: string): never => {
  throw new Error(`${name} cannot be read`)
}
const byName = (records: readonly InventoryRecord[] = []) => records.toSorted((a, b) => a.name.localeCompare(b.name))

test.for([0, 1, 100, 13_000])('%s objects are read back as they were written', (count) => {
  const written = inventory(
    Array.from({ length: count }, (_, index) => record(`a-long-name-of-an-object-${index}`, { wave: index % 3 })),
  )
  const maps = encodeInventory(written, 'fairlead-system', 1)
  const [read] = decodeInventories(maps, refuse).values()
  expect(byName(read?.records)).toEqual(byName(written.records))
  expect(read).toMatchObject({ application: 'web', artifactDigest: 'd', appliedAtMs: 5 })
  for (const { data } of maps) expect(JSON.stringify({ data }).length).toBeLessThan(1_300_000)
})

test('an approval is read back with what it covers', () => {
  const written = [
    record('a'),
    record('b', { isPruneApproved: true }),
    record('c', { isPruneApproved: true, approvedTakes: ['?widgets.e.com', 'x'] }),
  ]
  const [read] = decodeInventories(encodeInventory(inventory(written), 'n', 1), refuse).values()
  expect(byName(read?.records)).toEqual(written)
})

test('what is large is split, and no part is larger than a Secret may be', { timeout: 30_000 }, () => {
  const written = inventory(Array.from({ length: 30_000 }, () => record(randomBytes(60).toString('hex'))))
  const maps = encodeInventory(written, 'fairlead-system', 1)
  expect(maps.length).toBeGreaterThan(1)
  for (const { data } of maps) {
    const content = (data as Record<string, string>)['inventory.json.gz'] ?? ''
    expect(Buffer.from(content, 'base64').length).toBeLessThan(1_000_000)
  }
  expect(byName([...decodeInventories(maps, refuse).values()][0]?.records)).toEqual(byName(written.records))
})

test('parts of two writes, left by a crash in between, forget no object and claim no completeness', () => {
  const before = encodeInventory(inventory(Array.from({ length: 9_000 }, (_, index) => record(`b${index}`))), 'n', 1)
  const after = encodeInventory(inventory(Array.from({ length: 9_000 }, (_, index) => record(`c${index}`))), 'n', 2)
  expect([before.length, after.length]).toEqual([2, 2])
  const [read] = decodeInventories(
    [before[0], after[1]].filter((part) => part !== undefined),
    refuse,
  ).values()
  expect(read?.records.length).toBe(9_000)
  expect(read?.artifactDigest).toBe('')
})

test('what has run and what was validated is read back, and an inventory without either stays as it was', () => {
  const run = {
    namespace: 'n',
    name: 'migrate',
    version: 'v1',
    uid: 'u',
    run: 'r',
    state: 'failed',
    message: 'why',
  } as const
  const more = {
    validatedDigest: 'd',
    inForce: 'f',
    hooks: [run, { ...run, name: 'notify', state: 'starting', uid: '' } as const],
  }
  const [read] = decodeInventories(encodeInventory({ ...inventory([record('a')]), ...more }, 'n', 1), refuse).values()
  expect(read).toMatchObject(more)
  const [plain] = encodeInventory(inventory([record('a')]), 'n', 1)
  expect(JSON.stringify(plain)).not.toMatch(/hooks|validated|inForce/)
  const [old] = decodeInventories(plain ? [plain] : [], refuse).values()
  expect(old).toMatchObject({ validatedDigest: '', inForce: '', hooks: [] })
})

test('names of parts never collide with other applications', () => {
  expect(inventoryName('web', 1)).not.toBe(inventoryName('web-1', 0))
})

test('an inventory that cannot be read is told and left out', () => {
  const told: string[] = []
  const [good] = encodeInventory(inventory([record('a')]), 'n', 1)
  const bad = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'fairlead-inventory-bad' },
    data: { 'inventory.json': Buffer.from('{').toString('base64') },
  }
  const read = decodeInventories(good ? [bad, good] : [], (name) => told.push(name))
  expect([[...read.keys()], told]).toEqual([['web'], ['fairlead-inventory-bad']])
})

test('each object is added, kept, moved, contested or dropped', () => {
  const owners = new Map([
    ['kept', 'web'],
    ['dropped', 'web'],
    ['moved', 'old'],
    ['contested', 'other'],
    ['foreign', 'other'],
  ])
  const diff = diffInventory({
    application: 'web',
    declared: ['added', 'kept', 'moved', 'contested', 'kept'],
    owned: [...owners].filter(([, owner]) => owner === 'web').map(([key]) => key),
    ownerOf: (key) => owners.get(key),
    isClaimedByOwner: (key) => owners.get(key) === 'other',
  })
  expect(diff).toEqual({
    added: ['added'],
    kept: ['kept'],
    moved: ['moved'],
    contested: ['contested'],
    dropped: ['dropped'],
  })
})
