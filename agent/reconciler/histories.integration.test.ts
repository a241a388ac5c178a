// Random histories: declared states of several applications, writes and deletes by others, crashes and restarts, in any
// order. Whatever happened, the cluster ends as declared last, nothing that was never ours is touched, a second pass
// writes nothing, and when all applications leave nothing of theirs is left.
//
// FAIRLEAD_PROPERTY_RUNS=500 runs so many histories instead of as many as fit into 40 seconds. A failure prints its seed
// and path: FAIRLEAD_PROPERTY_SEED and FAIRLEAD_PROPERTY_PATH run that history again.
import { writeVerbs } from '@fairlead/e2e/harness/audit'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { type KubeObject, KubeRequestError } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { SyncState } from '@fairlead/proto/common'
import { silentLogger } from '@fairlead/shared/logger'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { PERSON_MANAGERS } from '../remediator/managed-fields.ts'
import {
  APPLICATIONS,
  type ApplicationName,
  addedItemOf,
  type DeclaredState,
  editOf,
  entriesOf,
  FOREIGN,
  FOUND,
  type History,
  historyArbitrary,
  objectOf,
  SLOTS,
  type Step,
} from './history.ts'
import { ReconcilerBed, type TestObject } from './reconciler-bed.ts'

const { FAIRLEAD_PROPERTY_RUNS: runs, FAIRLEAD_PROPERTY_SEED: seed, FAIRLEAD_PROPERTY_PATH: path } = process.env
const LIMIT_MS = 40_000
const NOTHING: DeclaredState = { slots: [], empty: 'tombstone' }

let cluster: Cluster
let histories = 0

beforeAll(async () => {
  cluster = await startCluster({ name: 'histories' })
}, 120_000)
afterAll(async () => await cluster?.stop())

test(
  'whatever happened, the cluster ends as declared last, what was never ours is not touched, and a second pass writes nothing',
  async () => {
    const check = async (history: History): Promise<void> => {
      const rig = new Rig(`h${++histories}`)
      try {
        await rig.start()
        for (const step of history) await rig.take(step)
        await rig.settle()
        await rig.expectDeclared()
        await rig.expectSecondPassToWriteNothing()
        await rig.take({ type: 'declare', state: NOTHING })
        await rig.settle()
        await rig.expectDeclared()
      } finally {
        await rig.stop()
      }
    }
    await fc.assert(fc.asyncProperty(historyArbitrary, check), {
      ...(runs ? { numRuns: Number(runs) } : { numRuns: 1_000, interruptAfterTimeLimit: LIMIT_MS }),
      ...(seed && { seed: Number(seed) }),
      ...(path && { path }),
      // A replay is of one history alone.
      ...(!path && { examples: FOUND.map((history): [History] => [history]) }),
    })
    console.log(`${histories} histories`)
  },
  Math.max(5 * LIMIT_MS, Number(runs ?? 0) * 20_000),
)

/** The object without the item that a controller, which is no person, has added to a list of it: that stays. */
function withoutAdded(slot: number, object: KubeObject): KubeObject {
  const item = addedItemOf(slot)
  const entry = object.metadata.managedFields?.find(({ manager }) => manager === 'some-controller')
  if (!item || !entry || !JSON.stringify(entry).includes(item.key)) return object
  const copy = structuredClone(object)
  const list = item.list.reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], copy)
  const items = list as { name: string }[]
  items.splice(0, items.length, ...items.filter(({ name }) => name !== item.name))
  return copy
}

/** One namespace and the agent that looks after it, whatever happens to either. */
class Rig {
  readonly #namespace: string
  readonly #userAgent: string
  #bed: ReconcilerBed | undefined
  #kube: Kube | undefined
  #state: DeclaredState = NOTHING
  readonly #known = new Set<ApplicationName>()
  /** Digests of held prunes. */
  readonly #approved = new Set<string>()
  /** What is not ours and must stay as it is. */
  readonly #foreign = new Map<string, KubeObject>()
  /** Uids of objects that others made and an application then declared: ours as soon as we wrote them, and not before. */
  readonly #claimed = new Map<string, string | undefined>()
  /** Writes until the process ends; undefined: it lives on. */
  #crash: { writes: number; isSent: boolean } | undefined
  #calls = 0
  #underWay = 0
  #restarting: Promise<void> = Promise.resolve()

  constructor(namespace: string) {
    this.#namespace = namespace
    this.#userAgent = `fairlead-agent/test ${namespace}`
  }

  async start(): Promise<void> {
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.#namespace } })
    for (let index = 0; index < FOREIGN; index++) await this.#writeForeign(index, 'x')
    await this.#startAgent()
  }

  async stop(): Promise<void> {
    this.#crash = undefined
    await this.#restarting
    await this.#stopAgent()
  }

  async take(step: Step): Promise<void> {
    switch (step.type) {
      case 'declare':
        return this.#declare(step.state)
      case 'edit':
        return await this.#asOther(async () => {
          const { body, type } = editOf(step.slot, step.what)
          const options = { type, fieldManager: step.manager }
          const edited = await cluster.admin.patch(this.#place(step.slot), body, options)
          if (this.#foreign.has(edited.metadata.name)) this.#foreign.set(edited.metadata.name, edited)
        })
      case 'delete':
        return await this.#asOther(async () => {
          await cluster.admin.delete(this.#place(step.slot))
          this.#foreign.delete(objectOf(step.slot, 0).metadata.name)
        })
      case 'precreate':
        return await this.#precreate(step.slot)
      case 'foreign':
        return await this.#writeForeign(step.index, step.value)
      case 'crash':
        this.#crash = { writes: step.afterWrites, isSent: step.isSent }
        return
      case 'restart':
        await this.#restart()
        return
      case 'settle':
        await this.settle()
    }
  }

  /** Waits until every application is Synced without a problem, or gone, and nothing is asked any more. */
  async settle(): Promise<void> {
    await waitFor(
      'all applications to be settled',
      async (see) => {
        await this.#restarting
        this.#approve()
        const unsettled = this.#findUnsettled()
        see({ unsettled, state: this.#state, reports: this.#bed?.reconciler.reports() })
        return unsettled.length === 0
      },
      { timeoutMs: 20_000 },
    )
    await this.#quiet()
    // A crash that was to come and did not.
    if (this.#findUnsettled().length > 0) await this.settle()
  }

  /** The live objects agree with the declared ones in every field, bear nothing of a person's, and there are no others of ours. */
  async expectDeclared(): Promise<void> {
    const labels = 'app.kubernetes.io/managed-by=fairlead'
    for (let slot = 0; slot < SLOTS; slot++) {
      const wanted = this.#state.slots[slot]
      const found = await cluster.admin.find(this.#place(slot))
      if (!wanted) {
        expect(found && !this.#isForeign(found) ? found : undefined).toBeUndefined()
        continue
      }
      expect(found && withoutAdded(slot, found)).toMatchObject(objectOf(slot, wanted.variant))
      expect(found?.metadata.labels).toMatchObject({
        'app.kubernetes.io/managed-by': 'fairlead',
        'fairlead.dev/application': wanted.application,
      })
      const persons = found?.metadata.managedFields?.filter(({ manager }) => PERSON_MANAGERS.test(manager))
      expect(persons).toEqual([])
    }
    const configMaps = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: this.#namespace } }
    const inventories = await cluster.admin.list(configMaps, { labels: 'fairlead.dev/inventory=true' })
    const ours = await cluster.admin.list(configMaps, { labels })
    const wanted = this.#state.slots.filter((one, slot) => one && objectOf(slot, 0).kind === 'ConfigMap').length
    expect(ours.filter(({ metadata }) => !metadata.name.startsWith('fairlead-inventory-'))).toHaveLength(wanted)
    const entries = entriesOf(this.#state, this.#known)
    const staying = APPLICATIONS.filter((name) => entries[name] && 'objects' in entries[name])
    expect(inventories.length).toBeLessThanOrEqual(staying.length)
    for (const [name, object] of this.#foreign) {
      const found = await cluster.admin.find({ ...object, metadata: { name, namespace: this.#namespace } })
      expect(found).toEqual(object)
    }
  }

  async expectSecondPassToWriteNothing(): Promise<void> {
    const writes = () => cluster.auditLog({ userAgent: this.#userAgent, verbs: writeVerbs })
    const before = writes()
    await this.#restart()
    await this.settle()
    expect(writes().slice(before.length)).toEqual([])
  }

  // The agent -----------------------------------------------------------------------------------------------------------

  async #startAgent(): Promise<void> {
    const access = await kubeconfigAccess(cluster.kubeconfigPath)
    const kube = createKube({ access, userAgent: this.#userAgent, logger: silentLogger })
    this.#kube = kube
    const limits = { transientBaseMs: 20, transientMaxMs: 200, pruneHealthTimeoutMs: 50 }
    // How fights are damped has tests of its own; here everything is put back at once.
    const options = { kube: this.#mortal(kube), limits, fightLimits: { threshold: 10_000 } }
    this.#bed = await ReconcilerBed.start({ cluster, namespace: this.#namespace }, options)
    this.#giveSlice()
  }

  async #stopAgent(): Promise<void> {
    // As when a process ends: what is under way is cut, and nothing can be written any more.
    const [bed, kube] = [this.#bed, this.#kube]
    await kube?.close()
    await bed?.stop()
  }

  async #restart(): Promise<void> {
    this.#crash = undefined
    this.#restarting = this.#restarting.then(async () => {
      await this.#stopAgent()
      await this.#startAgent()
    })
    await this.#restarting
  }

  /** The same Kube, which takes the whole agent with it at the write that the next crash is due at. */
  #mortal(kube: Kube): Kube {
    const mortal =
      <A extends unknown[], R>(write: (...given: A) => Promise<R>) =>
      async (...given: A): Promise<R> => {
        const crash = this.#crash
        const isDue = kube === this.#kube && crash !== undefined && crash.writes-- <= 0
        if (!isDue) return await write(...given)
        if (!crash.isSent) {
          void this.#restart()
          return await write(...given)
        }
        const answer = write(...given)
        setImmediate(() => void this.#restart())
        return await answer
      }
    const { apply, create, replace, patchJson, delete: remove } = kube
    const writing = {
      apply: mortal(apply),
      create: mortal(create),
      replace: mortal(replace),
      patchJson: mortal(patchJson),
      delete: mortal(remove),
    }
    return this.#counted({ ...kube, ...writing })
  }

  /** Notes how many calls have begun, and how many are under way. */
  #counted(kube: Kube): Kube {
    const count =
      <A extends unknown[], R>(call: (...given: A) => Promise<R>) =>
      async (...given: A): Promise<R> => {
        this.#calls++
        this.#underWay++
        try {
          return await call(...given)
        } finally {
          this.#underWay--
        }
      }
    const { apply, create, replace, patchJson, delete: remove, get, list, watch, resolve } = kube
    return {
      ...kube,
      apply: count(apply),
      create: count(create),
      replace: count(replace),
      patchJson: count(patchJson),
      delete: count(remove),
      get: count(get),
      list: count(list),
      watch: count(watch),
      resolve: count(resolve),
    }
  }

  #declare(state: DeclaredState): void {
    this.#state = state
    for (const one of state.slots) if (one) this.#known.add(one.application)
    // What an application declares becomes its own, also when somebody else made it.
    for (const [slot, one] of state.slots.entries()) if (one) this.#claim(objectOf(slot, 0).metadata.name)
    this.#giveSlice()
  }

  #claim(name: string): void {
    const found = this.#foreign.get(name)
    if (found) this.#claimed.set(name, found.metadata.uid)
    this.#foreign.delete(name)
  }

  /** What others made, and we never wrote: it was declared for too short a time to be taken over, or never. */
  #isForeign({ metadata: { name, uid, managedFields = [] } }: KubeObject): boolean {
    if (this.#foreign.get(name)?.metadata.uid === uid) return true
    return this.#claimed.get(name) === uid && !managedFields.some(({ manager }) => manager === 'fairlead')
  }

  #giveSlice(): void {
    this.#bed?.update(entriesOf(this.#state, this.#known, [...this.#approved]))
  }

  /** Approves what a guard holds, such as an application that declares nothing any more. */
  #approve(): void {
    const held = (this.#bed?.reconciler.reports() ?? []).flatMap(({ heldPrunes }) => heldPrunes)
    const fresh = held.filter(({ digest }) => !this.#approved.has(digest))
    for (const { digest } of fresh) this.#approved.add(digest)
    if (fresh.length > 0) this.#giveSlice()
  }

  #findUnsettled(): string[] {
    const bed = this.#bed
    if (!bed) return ['no agent']
    return Object.entries(entriesOf(this.#state, this.#known))
      .filter(([name, entry]) => {
        if ('tombstone' in entry) return !bed.removed.includes(name)
        const report = bed.report(name)
        return report?.sync !== SyncState.SYNCED || report.problems.length > 0 || report.appliedAt === undefined
      })
      .map(([name]) => name)
  }

  /** Waits until the agent has asked nothing, and waited for no answer, for ten looks. */
  /** Longer than an application waits before it records what a repair made (SOON_MS in wake-signal.ts): a process that ends before leaves that to the next. */
  async #quiet(): Promise<void> {
    let last = -1
    let looks = 0
    await waitFor(
      'the agent to be quiet',
      () => {
        looks = this.#calls === last && this.#underWay === 0 ? looks + 1 : 0
        last = this.#calls
        return looks >= 16
      },
      { intervalMs: 20 },
    )
  }

  // The others ----------------------------------------------------------------------------------------------------------

  #place(slot: number): TestObject {
    const object = objectOf(slot, 0)
    return { ...object, metadata: { ...object.metadata, namespace: this.#namespace } }
  }

  /** Others find an object gone, being made, or changed under their hands: then they leave it. */
  async #asOther(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof KubeRequestError) || ![404, 409, 422].includes(error.status)) throw error
    }
  }

  async #precreate(slot: number): Promise<void> {
    await this.settle()
    const place = this.#place(slot)
    if (this.#state.slots[slot] || (await cluster.admin.find(place))) return
    const object = { ...place, metadata: { ...place.metadata, labels: { by: 'hand' } } }
    this.#foreign.set(place.metadata.name, await cluster.admin.create(object))
  }

  async #writeForeign(index: number, value: string): Promise<void> {
    const labels = [{}, { 'app.kubernetes.io/managed-by': 'Helm' }, { 'fairlead.dev/application': 'a' }][index]
    const metadata = { name: `foreign-${index}`, namespace: this.#namespace, labels }
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { value } }
    this.#foreign.set(metadata.name, await cluster.admin.apply(object, { force: true }))
  }
}
