// Each fault of an API server at each moment of an agent's work: in the end the cluster is as declared, nothing foreign
// was touched, nothing was made twice, and no error is left in the report.
import { type ApiProxy, type Misbehaviour, type ProxiedRequest, startApiProxy } from '@fairlead/e2e/harness/api-proxy'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

let cluster: Cluster
let api: ApiProxy
let number = 0
let namespace = ''
let beds: ReconcilerBed[] = []
let kubes: Kube[] = []
/** What is still under way of a fault. */
let ending: Promise<unknown> = Promise.resolve()

beforeAll(async () => {
  cluster = await startCluster({ name: 'faults' })
  api = await startApiProxy(cluster)
}, 120_000)
afterEach(async () => {
  api.rule = undefined
  cluster.resumeApiServer()
  await ending
  await Promise.all(beds.map(async (bed) => await bed.stop()))
  await Promise.all(kubes.map(async (kube) => await kube.close()))
  beds = []
  kubes = []
})
afterAll(async () => {
  await api?.stop()
  await cluster?.stop()
})

/** Little patience, so that three seconds are to it what thirty are to an agent in a cluster. */
const PATIENCE = { pingIntervalMs: 300, pingTimeoutMs: 1_500 }
const PAUSE_MS = 3_000
const REFUSE_MS = 1_500

const start = async (): Promise<ReconcilerBed> => {
  const kubeconfigPath = cluster.writeKubeconfig('faults', { server: api.server })
  const access = await kubeconfigAccess(kubeconfigPath)
  const kube = createKube({ access, userAgent: `fairlead-agent/test ${namespace}`, logger: silentLogger, ...PATIENCE })
  kubes.push(kube)
  const bed = await ReconcilerBed.start(
    { cluster: { kubeconfigPath, auditLog: (filter) => cluster.auditLog(filter) }, namespace },
    { kube, limits: { transientBaseMs: 50, transientMaxMs: 1_000 } },
  )
  beds.push(bed)
  return bed
}

// Objects ------------------------------------------------------------------------------------------------------------

const object = (kind: string, name: string, fields: object = {}, apiVersion = 'v1'): TestObject => ({
  apiVersion,
  kind,
  metadata: { name, labels: { tier: 'web' } },
  ...fields,
})
/** Twelve of five kinds; `value` is in each of them. */
const makeObjects = (value: string): TestObject[] => [
  ...[0, 1, 2, 3].map((index) => object('ConfigMap', `c${index}`, { data: { value } })),
  ...[0, 1].map((index) => object('Secret', `s${index}`, { stringData: { value } })),
  ...[0, 1].map((index) => object('ServiceAccount', `a${index}`, { automountServiceAccountToken: value === '1' })),
  ...[0, 1].map((index) =>
    object('Service', `v${index}`, { spec: { selector: { value }, ports: [{ name: 'http', port: 80 }] } }),
  ),
  ...[0, 1].map((index) =>
    object(
      'Role',
      `r${index}`,
      { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'], resourceNames: [value] }] },
      'rbac.authorization.k8s.io/v1',
    ),
  ),
]
const readValue = ({ kind, data, spec, rules, automountServiceAccountToken }: KubeObject): unknown => {
  if (kind === 'ConfigMap') return data?.value
  if (kind === 'Secret') return Buffer.from(data?.value ?? '', 'base64').toString()
  if (kind === 'Service') return (spec?.selector as { value?: string } | undefined)?.value
  if (kind === 'Role') return (rules as { resourceNames?: string[] }[])[0]?.resourceNames?.[0]
  return automountServiceAccountToken ? '1' : '2'
}
const placed = (one: TestObject) => ({ ...one, metadata: { ...one.metadata, namespace } })
const KINDS = [
  ['v1', 'ConfigMap'],
  ['v1', 'Secret'],
  ['v1', 'ServiceAccount'],
  ['v1', 'Service'],
  ['rbac.authorization.k8s.io/v1', 'Role'],
] as const
/** Everything of ours in the namespace, by kind and name. */
const readOurs = async (): Promise<Map<string, KubeObject>> => {
  const found = new Map<string, KubeObject>()
  for (const [apiVersion, kind] of KINDS) {
    const reference = { apiVersion, kind, metadata: { namespace } }
    const labels = 'app.kubernetes.io/managed-by=fairlead,tier=web'
    for (const one of await cluster.admin.list(reference, { labels })) found.set(`${kind} ${one.metadata.name}`, one)
  }
  return found
}
const foreign = (name: string, labels: object): TestObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace, labels },
  data: { of: 'another' },
})
const makeForeign = async (): Promise<KubeObject[]> =>
  await Promise.all(
    [{}, { tier: 'web' }, { 'app.kubernetes.io/managed-by': 'Helm' }].map(
      async (labels, index) => await cluster.admin.create(foreign(`foreign-${index}`, labels)),
    ),
  )

// Faults -------------------------------------------------------------------------------------------------------------

/** Begins when a request of the moment comes, and says what happens to that and all that follow. */
interface Fault {
  /** Called once, with the request that began it under way. */
  readonly begin?: () => Promise<void>
  /** What happens to a request of the moment; `sinceMs` is how long ago the fault began, `count` how many came before it. */
  readonly of?: (count: number, sinceMs: number) => Misbehaviour | undefined
  /** What happens to all others once it has begun. */
  readonly others?: Misbehaviour
}

const FAULTS: Readonly<Record<string, Fault>> = {
  'killed and started again': {
    begin: async () => {
      await cluster.killApiServer()
      await cluster.restartApiServer()
    },
  },
  'paused for longer than is waited': {
    begin: async () => {
      cluster.pauseApiServer()
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      cluster.resumeApiServer()
    },
  },
  'slow by 500 ms': { of: () => ({ delayMs: 500 }), others: { delayMs: 500 } },
  'answering 429': {
    of: (_, sinceMs) =>
      sinceMs < REFUSE_MS
        ? { answer: { status: 429, headers: { 'retry-after': '1' }, body: status(429, 'TooManyRequests') } }
        : undefined,
  },
  'answering 503': {
    of: (_, sinceMs) =>
      sinceMs < REFUSE_MS ? { answer: { status: 503, body: status(503, 'ServiceUnavailable') } } : undefined,
  },
  'cutting the connection in the middle of a body': { of: (count) => (count < 3 ? { cutAfterBytes: 100 } : undefined) },
}
const status = (code: number, reason: string) => ({
  apiVersion: 'v1',
  kind: 'Status',
  status: 'Failure',
  message: 'the harness turned this away',
  reason,
  code,
})

/** Arms the proxy; resolves when the fault has begun. */
function arm(fault: Fault, isOfMoment: (request: ProxiedRequest) => boolean): Promise<void> {
  const begun = Promise.withResolvers<void>()
  let beganAt = 0
  let count = 0
  api.rule = (request) => {
    const isMoment = isOfMoment(request)
    if (beganAt === 0 && !isMoment) return undefined
    if (beganAt === 0) {
      beganAt = performance.now()
      // The request that began it is on its way by then.
      ending = new Promise((resolve) => setImmediate(resolve)).then(async () => await fault.begin?.())
      begun.resolve()
    }
    return isMoment ? fault.of?.(count++, performance.now() - beganAt) : fault.others
  }
  return begun.promise
}

// Moments ------------------------------------------------------------------------------------------------------------

/** Brings the agent to the moment, lets the fault begin then, and returns what is declared in the end, and the uids of what must not be made anew. */
type Moment = (fault: Fault) => Promise<{ bed: ReconcilerBed; declared: TestObject[]; kept: Map<string, string> }>

const isOfNamespace = ({ path }: ProxiedRequest): boolean =>
  path.includes(`/namespaces/${namespace}/`) && !path.includes('fairlead-inventory')
/** Uids of objects that are there. */
const readUids = async (objects: readonly TestObject[]): Promise<Map<string, string>> => {
  const ours = await readOurs()
  return new Map(keysOf(objects).map((key) => [key, ours.get(key)?.metadata.uid ?? 'not there']))
}
const keysOf = (objects: readonly TestObject[]): string[] => objects.map((one) => `${one.kind} ${one.metadata.name}`)

const MOMENTS: Readonly<Record<string, Moment>> = {
  apply: async (fault) => {
    const bed = await start()
    const declared = makeObjects('2')
    // The other half is new.
    const before = makeObjects('1').filter((_, index) => index % 2 === 0)
    bed.update({ web: { objects: before } })
    await bed.synced('web')
    const kept = await readUids(before)
    let patches = 0
    const begun = arm(fault, (request) => request.method === 'PATCH' && isOfNamespace(request) && ++patches > 2)
    bed.update({ web: { objects: declared } })
    await begun
    return { bed, declared, kept }
  },
  prune: async (fault) => {
    const bed = await start()
    const objects = makeObjects('1')
    bed.update({ web: { objects } })
    await bed.synced('web')
    const declared = objects.filter((_, index) => index % 3 !== 0)
    const kept = await readUids(declared)
    const begun = arm(fault, (request) => request.method === 'DELETE' && isOfNamespace(request))
    bed.update({ web: { objects: declared } })
    await begun
    return { bed, declared, kept }
  },
  list: async (fault) => {
    const objects = makeObjects('1')
    const first = await start()
    first.update({ web: { objects } })
    await first.synced('web')
    const kept = await readUids(objects.slice(2))
    beds = []
    await first.stop()
    await disturb(objects)
    const begun = arm(fault, ({ method, isWatch, query }) => method === 'GET' && !isWatch && query.has('limit'))
    const bed = await start()
    bed.update({ web: { objects } })
    await begun
    return { bed, declared: objects, kept }
  },
  watch: async (fault) => {
    const objects = makeObjects('1')
    const bed = await start()
    bed.update({ web: { objects } })
    await bed.synced('web')
    const kept = await readUids(objects.slice(2))
    const begun = arm(fault, ({ isWatch }) => isWatch)
    // Watches that are opened anew meet the fault; what happens meanwhile must be learned all the same.
    api.breakConnections()
    await begun
    await waitFor(
      'the API server to take a write',
      async () => {
        await disturb(objects)
        return true
      },
      { timeoutMs: 30_000 },
    )
    return { bed, declared: objects, kept }
  },
}
/** A person edits one object and a script deletes another. */
const disturb = async (objects: readonly TestObject[]): Promise<void> => {
  const [edited, deleted] = objects as [TestObject, TestObject]
  await cluster.admin.patch(placed(edited), { data: { value: 'edited', more: 'x' } })
  await cluster.admin.delete(placed(deleted))
}

// The matrix ---------------------------------------------------------------------------------------------------------

const matrix = Object.keys(FAULTS).flatMap((fault) => Object.keys(MOMENTS).map((moment) => [fault, moment] as const))

test.each(matrix)(
  'an API server that is %s during %s costs nothing',
  async (faultName, momentName) => {
    namespace = `faults-${++number}`
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
    const strangers = await makeForeign()
    const { bed, declared, kept } = await (MOMENTS[momentName] as Moment)(FAULTS[faultName] as Fault)
    await ending
    const value = momentName === 'apply' ? '2' : '1'
    await waitFor(
      'the cluster to be as declared',
      async (see) => {
        const ours = await readOurs()
        const values = [...ours].map(([key, one]) => `${key} ${readValue(one)}`).sort()
        see([values, bed.report('web')])
        return (
          JSON.stringify(values) ===
          JSON.stringify(
            keysOf(declared)
              .map((key) => `${key} ${value}`)
              .sort(),
          )
        )
      },
      { timeoutMs: 40_000 },
    )
    const isClean = ({ sync, problems }: { sync: SyncState; problems: unknown[] }) =>
      sync === SyncState.SYNCED && problems.length === 0
    await bed.reported('web', 'Synced without a problem', isClean, 20_000)

    const ours = await readOurs()
    expect(new Map([...kept.keys()].map((key) => [key, ours.get(key)?.metadata.uid]))).toEqual(kept)
    expect(ours.get('ConfigMap c0')?.data?.more).toBeUndefined()
    for (const stranger of strangers) expect(await cluster.admin.get(stranger)).toEqual(stranger)
    // Each object is created once, and once more where it was deleted.
    const userAgent = `fairlead-agent/test ${namespace}`
    const created = cluster.auditLog({ userAgent, verbs: ['patch', 'create'] }).filter(({ code }) => code === 201)
    const counts = new Map<string, number>()
    for (const { resource, name } of created)
      counts.set(`${resource} ${name}`, (counts.get(`${resource} ${name}`) ?? 0) + 1)
    const again = momentName === 'list' || momentName === 'watch' ? 'configmaps c1' : ''
    expect([...counts].filter(([key, count]) => count > (key === again ? 2 : 1))).toEqual([])

    // And it stays so: a second pass over everything changes nothing.
    api.rule = undefined
    const versions = (objects: Map<string, KubeObject>) =>
      [...objects].map(([key, one]) => [key, one.metadata.resourceVersion])
    const settled = versions(ours)
    const since = Date.now()
    bed.reconciler.reconcile()
    const isChecked = () =>
      new Set(
        cluster.auditLog({ userAgent, verbs: ['patch'], since }).map(({ resource, name }) => `${resource} ${name}`),
      ).size >= declared.length
    await waitFor('every object to be compared', isChecked)
    await bed.reported('web', 'Synced without a problem', isClean)
    expect(versions(await readOurs())).toEqual(settled)
  },
  120_000,
)
