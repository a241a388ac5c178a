// Where others stand in the way: fights, policies, autoscalers, adoption, webhooks, and what happened while nobody watched.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { DriftKind } from '@fairlead/proto/report'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'fight' })
const configMap = (name: string, data: Record<string, string> = { a: '1' }): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})
const deployment = (image: string, replicas = 1): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'd' } },
    template: { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'c', image }] } },
  },
})

test('a controller that keeps writing ends in back-off and one report that names it', async () => {
  const bed = await here.start({ fightLimits: { threshold: 4, baseDelayMs: 60_000 } })
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  for (let round = 0; round < 10; round++) {
    await here.admin.patch(
      here.placed(configMap('a')),
      { data: { a: `rival-${round}` } },
      { type: 'merge', fieldManager: 'rival-operator' },
    )
    await waitFor('repair or back-off', async () => {
      const isFought = bed.report('web')?.problems.some(({ code }) => code === 'FieldFight')
      return isFought || getField(await here.find(configMap('a')), 'data.a') === '1'
    })
  }
  const report = await bed.reported('web', 'fighting', ({ problems }) => problems.length > 0)
  expect(report.problems).toHaveLength(1)
  expect(report.problems[0]?.message).toContain('rival-operator')
  expect(report.remediations).toBeLessThan(8n)
  expect(getField(await here.find(configMap('a')), 'data.a')).toBe('rival-9')
  // A new revision is applied all the same.
  bed.update({ web: { objects: [configMap('a', { a: 'new' })] } })
  await waitFor('the new revision', async () => getField(await here.find(configMap('a')), 'data.a') === 'new')
})

test('a second controller that writes ten times a second ends in back-off, with the limits as shipped, and when it stops the fight ends', {
  timeout: 60_000,
}, async () => {
  const bed = await here.start({ fightLimits: { quietMs: 500 } })
  bed.update({ web: { objects: [configMap('a'), configMap('b')] } })
  await bed.synced('web')
  const stopped = new AbortController()
  const rival = (async () => {
    for (let round = 0; !stopped.signal.aborted; round++) {
      await here.admin.patch(
        here.placed(configMap('a')),
        { data: { a: `r${round}` } },
        { type: 'merge', fieldManager: 'rival-operator' },
      )
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  const report = await bed.reported('web', 'fighting', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([{ code: 'FieldFight', object: { name: 'a' } }])
  expect(report.problems[0]?.message).toContain('rival-operator')
  // Others are healed meanwhile.
  const count = bed.report('web')?.remediations ?? 0n
  await here.admin.patch(here.placed(configMap('b')), { data: { a: '9' } }, { type: 'merge' })
  await bed.reported('web', 'repaired', ({ remediations }) => remediations > count)
  await waitFor('the other object', async () => getField(await here.find(configMap('b')), 'data.a') === '1')
  stopped.abort()
  await rival
  await waitFor('the value of Git', async () => getField(await here.find(configMap('a')), 'data.a') === '1', {
    timeoutMs: 30_000,
  })
  await bed.reported('web', 'at peace', ({ problems }) => problems.length === 0, 30_000)
})

test('a person who deletes or edits an object twenty times in a row is put back each time, at once', {
  timeout: 30_000,
}, async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  for (let round = 0; round < 20; round++) {
    const uid = (await here.find(configMap('a')))?.metadata.uid
    await here.admin.delete(here.placed(configMap('a')))
    await waitFor(
      'the object',
      async () => {
        const found = await here.find(configMap('a'))
        return found && found.metadata.uid !== uid
      },
      { timeoutMs: 900, intervalMs: 2 },
    )
  }
  for (let round = 0; round < 20; round++) {
    await here.admin.patch(here.placed(configMap('a')), { data: { a: `x${round}` } }, { type: 'merge' })
    await waitFor('the value', async () => getField(await here.find(configMap('a')), 'data.a') === '1', {
      timeoutMs: 900,
      intervalMs: 2,
    })
  }
  expect(bed.report('web')?.problems).toEqual([])
})

test('a controller that deletes an object ten times a second for long ends in back-off', {
  timeout: 60_000,
}, async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')] } })
  await bed.synced('web')
  const isFought = (): boolean => bed.report('web')?.problems.some(({ code }) => code === 'FieldFight') ?? false
  for (let round = 0; round < 200 && !isFought(); round++) {
    await waitFor('the object or back-off', async () => isFought() || (await here.find(configMap('a'))))
    if (!isFought()) await here.admin.delete(here.placed(configMap('a')))
  }
  const report = await bed.reported('web', 'fighting', ({ problems }) => problems.length > 0)
  expect(report.problems).toMatchObject([{ code: 'FieldFight' }])
  expect(report.problems[0]?.message).toContain('deleting the object')
})

test('drift is only reported where the policy says so, and applied over by the next revision', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [configMap('a')], remediate: false } })
  await bed.synced('web')
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '9' } }, { type: 'merge' })
  const report = await bed.reported('web', 'OutOfSync', ({ sync }) => sync === SyncState.OUT_OF_SYNC)
  expect(report.drifts[0]).toMatchObject({ kind: DriftKind.CHANGED, object: { name: 'a' } })
  expect(report.drifts[0]?.remediatedAt).toBeUndefined()
  expect(getField(await here.find(configMap('a')), 'data.a')).toBe('9')
  bed.update({ web: { objects: [configMap('a', { a: '2' })], remediate: false } })
  await bed.synced('web')
  expect(getField(await here.find(configMap('a')), 'data.a')).toBe('2')
})

test('replicas set by an autoscaler are left to it, also by later revisions', async () => {
  const bed = await here.start()
  bed.update({ web: { objects: [deployment('nginx:1')] } })
  await bed.synced('web')
  const scale = { spec: { replicas: 7 } }
  await here.admin.patch(here.placed(deployment('nginx:1')), scale, {
    type: 'merge',
    subresource: 'scale',
    fieldManager: 'kube-controller-manager',
  })
  // A drift of the same object, which is seen after the scaling.
  await here.admin.patch(here.placed(deployment('')), { metadata: { annotations: { by: 'hand' } } }, { type: 'merge' })
  await bed.reported('web', 'repaired', ({ remediations }) => remediations === 1n)
  bed.update({ web: { objects: [deployment('nginx:2')] } })
  await waitFor('the image', async () => JSON.stringify((await here.find(deployment('')))?.spec).includes('nginx:2'))
  const report = await bed.synced('web')
  expect(getField(await here.find(deployment('')), 'spec.replicas')).toBe(7)
  expect(report.remediations).toBe(1n)
})

test('what was changed while the agent was away is put back when it starts', async () => {
  const first = await here.start()
  const entry = { web: { objects: [configMap('a'), configMap('b'), configMap('c')] } }
  first.update(entry)
  await first.synced('web')
  await here.stop(first)
  await here.admin.patch(here.placed(configMap('a')), { data: { a: '9' } }, { type: 'merge' })
  await here.admin.patch(here.placed(configMap('b')), { data: { z: '9' } }, { type: 'merge' })
  await here.admin.delete(here.placed(configMap('c')))
  const second = await here.start()
  second.update(entry)
  const report = await second.reported('web', 'repaired', ({ remediations }) => remediations === 3n)
  await second.synced('web')
  expect(report.drifts).toHaveLength(3)
  for (const name of ['a', 'b', 'c']) expect((await here.find(configMap(name)))?.data).toEqual({ a: '1' })
})

test('an object made with client-side apply is adopted, and what Git does not have goes', async () => {
  const object = here.placed(deployment('nginx:1')) as ReturnType<typeof here.placed> & {
    spec: Record<string, unknown>
  }
  const old = structuredClone(object) as unknown as {
    spec: { template: { spec: { containers: unknown[] } } }
    metadata: Record<string, unknown>
  }
  old.spec.template.spec.containers.push({ name: 'old', image: 'o' })
  old.metadata.annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{}' }
  await here.admin.create(old as never, { fieldManager: 'kubectl-client-side-apply' })
  const bed = await here.start()
  bed.update({ web: { objects: [deployment('nginx:1')] } })
  await bed.synced('web')
  const after = await here.find(deployment(''))
  expect(getField(after, 'spec.template.spec.containers.length')).toBe(1)
  expect(after?.metadata.annotations ?? {}).toEqual({})
})

test('an equal object made with client-side apply is adopted by ifEqual without a new generation, one with a sidecar is refused', async () => {
  await here.admin.create(here.placed(deployment('nginx:1')), { fieldManager: 'kubectl-client-side-apply' })
  const before = await here.find(deployment(''))
  const bed = await here.start()
  bed.update({ web: { objects: [deployment('nginx:1')], adopt: 'ifEqual' } })
  await bed.synced('web')
  expect((await here.find(deployment('')))?.metadata.generation).toBe(before?.metadata.generation)
  bed.update({ web: { tombstone: 'prune' } })
  await waitFor('the confirmation', () => bed.removed.includes('web'))
  const side = structuredClone(here.placed(deployment('nginx:1'))) as unknown as {
    spec: { template: { spec: { containers: unknown[] } } }
  }
  side.spec.template.spec.containers.push({ name: 'side', image: 's' })
  await here.admin.create(side as never, { fieldManager: 'kubectl-client-side-apply' })
  bed.update({ web: { objects: [deployment('nginx:1')], adopt: 'ifEqual' } })
  await bed.reported('web', 'refused', ({ problems }) => problems[0]?.code === 'AdoptionRefused')
})

test('what is not there yet is made in one request, and what is there is never changed before the policy was asked', async () => {
  const bed = await here.start()
  for (const adopt of ['never', 'ifEqual']) {
    const [name, again] = [adopt.toLowerCase(), `${adopt}-again`.toLowerCase()]
    const since = Date.now()
    bed.update({ [name]: { objects: [deployment('nginx:1'), configMap('new')], adopt } })
    await bed.synced(name)
    const requests = here.cluster.auditLog({ userAgent: 'fairlead-agent/test', since })
    const own = requests.filter(
      ({ namespace: where, name: object }) => where === here.namespace && /^(d|new)$/.test(object),
    )
    expect(own.map(({ verb, code }) => `${verb} ${code}`)).toEqual(['patch 201', 'patch 201'])
    bed.update({ [name]: { tombstone: 'prune' } })
    await waitFor('the confirmation', () => bed.removed.includes(name))
    const { metadata } = await here.admin.create(here.placed(configMap('new', { theirs: '1' })))
    bed.removed.length = 0
    bed.update({ [again]: { objects: [configMap('new')], adopt } })
    await bed.reported(again, 'refused', ({ problems }) => problems[0]?.code === 'AdoptionRefused')
    expect((await here.find(configMap('new')))?.metadata.resourceVersion).toBe(metadata.resourceVersion)
    await here.admin.delete(here.placed(configMap('new')))
    bed.update({ [again]: { tombstone: 'prune' } })
    await waitFor('the confirmation', () => bed.removed.includes(again))
  }
})

test('a webhook that hangs holds up only its own objects, which are applied when it is gone', async () => {
  await using silent = await listenSilently()
  const webhook = {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name: `slow-${here.namespace}` },
    webhooks: [
      {
        name: 'slow.example.com',
        clientConfig: { url: `https://127.0.0.1:${silent.port}/` },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
        objectSelector: { matchLabels: { slow: here.namespace } },
        failurePolicy: 'Fail',
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        timeoutSeconds: 3,
      },
    ],
  }
  await here.admin.create(webhook as never)
  const slow = (name: string): TestObject => ({
    ...configMap(name),
    metadata: { name, labels: { slow: here.namespace } },
  })
  const bed = await here.start()
  const some = (make: (name: string) => TestObject, prefix: string) =>
    Array.from({ length: 20 }, (_, index) => make(`${prefix}${index}`))
  // A webhook takes a moment to be known to the API server: the first of these may slip through.
  bed.update({ slow: { objects: some(slow, 's') } })
  await waitFor('objects that hang', () => silent.connections() > 0)
  bed.update({ slow: { objects: some(slow, 's') }, quick: { objects: some(configMap, 'q') } })
  await bed.synced('quick', { timeoutMs: 2_900 })
  const report = await bed.reported('slow', 'refused', ({ problems }) => problems.length > 0)
  expect(report.problems[0]).toMatchObject({ code: 'ApplyRefused', source: { file: 'deploy/slow.yaml' } })
  await here.admin.delete(webhook)
  await bed.synced('slow', { timeoutMs: 30_000 })
})

/** A server that takes connections and never says a word. */
async function listenSilently() {
  let count = 0
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    count++
    open.add(socket.on('error', () => undefined))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = async (): Promise<void> => {
    for (const socket of open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  return { port: (server.address() as AddressInfo).port, connections: () => count, [Symbol.asyncDispose]: stop }
}

test('an object that a wave waits for holds back the later wave', async () => {
  const bed = await here.start()
  const inWave = (object: TestObject, wave: string): TestObject => ({
    ...object,
    metadata: { ...object.metadata, annotations: { 'fairlead.dev/wave': wave } },
  })
  const broken = { ...configMap('first'), data: { a: { not: 'text' } } }
  bed.update({
    web: { objects: [inWave(configMap('later'), '1'), inWave(broken as TestObject, '0'), configMap('free')] },
  })
  const report = await bed.reported('web', 'waiting', ({ problems }) => problems.length === 2)
  expect(report.problems.map(({ code }) => code).sort()).toContain('DependencyFailed')
  expect(await here.find(configMap('later'))).toBeUndefined()
  expect(await here.find(configMap('free'))).toBeDefined()
  bed.update({
    web: { objects: [inWave(configMap('later'), '1'), inWave(configMap('first'), '0'), configMap('free')] },
  })
  await bed.synced('web')
})
