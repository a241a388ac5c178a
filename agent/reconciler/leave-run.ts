// Carries out a tombstone: deletes what an application owns, or gives up the ownership and leaves the objects.
import { isAborted, toAppError } from '@fairlead/shared/errors'
import { APPLICATION_LABEL, MANAGED_BY_LABEL } from '@fairlead/shared/labels'
import type { JsonPatchOperation } from '../kube/kube.ts'
import type { Application } from './application.ts'
import { fail } from './apply-run.ts'
import type { ObjectRecord } from './object-record.ts'
import { awaitNeighbours, forgetUnlessWanted, isDue, pruneRecords, throwIfAborted, toPruneError } from './prune-run.ts'
import type { TombstoneTarget } from './target.ts'

/** One try; true when nothing is owned any more and the inventory is gone. Throws Aborted, or as Kube does. */
export async function leave(application: Application, target: TombstoneTarget, signal: AbortSignal): Promise<boolean> {
  for (const record of application.records()) {
    record.declared = undefined
    record.movesTo = ''
  }
  const due = application.records().filter((record) => isDue(application, record))
  if (due.length > 0) {
    if (!(await awaitNeighbours(application, due, signal))) return false
    // What is never deleted stays in the cluster, owned by nobody. What an approval lets go is waited for.
    const left = target.prune
      ? await pruneRecords(application, application.records(), target, signal)
      : due.filter(hasNoHeir(application))
    for (const record of left) await orphan(application, record, signal)
  }
  if (!target.prune) application.heldPrune = undefined
  if (application.records().length > 0) {
    await application.save()
    return false
  }
  await application.forget()
  return true
}

function hasNoHeir(application: Application): (record: ObjectRecord) => boolean {
  const { table, neighbours } = application.context
  return ({ key }) => {
    const [heir] = table.contesters(key)
    neighbours.get(heir ?? '')?.wake()
    return heir === undefined
  }
}

/** Takes our labels off: the object is not watched any more, and otherwise stays exactly as it is. */
async function orphan(application: Application, record: ObjectRecord, signal: AbortSignal): Promise<void> {
  throwIfAborted(signal)
  const { writer, applies } = application.context
  try {
    await application.pass.inTurn(
      applies,
      async () =>
        await writer.exclusively(record, async () => {
          throwIfAborted(signal)
          // Wanted again while it waited for its turn.
          if (record.declared || record.application !== application.name) return
          await takeLabelsOff(application, record, signal)
          forgetUnlessWanted(application, record)
        }),
    )
  } catch (thrown) {
    const error = toAppError(thrown)
    if (!isAborted(error)) fail(application, record, toPruneError(error))
  }
}

async function takeLabelsOff({ name, context }: Application, record: ObjectRecord, signal: AbortSignal): Promise<void> {
  const { localPolicy } = context
  const refusal = localPolicy(record)
  // A pause ends; what is forbidden keeps our labels, which mean nothing any more.
  if (refusal && context.isPaused()) throw refusal
  if (refusal) return
  const kube = await context.kubeFor(name)
  const object = await kube.get(record.resource, record, { metadataOnly: true, signal: context.signal })
  throwIfAborted(signal)
  const labels = object?.metadata.labels ?? {}
  const remove = [MANAGED_BY_LABEL, APPLICATION_LABEL]
    .filter((label) => label in labels)
    .map((label): JsonPatchOperation => ({ op: 'remove', path: `/metadata/labels/${label.replaceAll('/', '~1')}` }))
  if (!object || remove.length === 0 || labels[APPLICATION_LABEL] !== name) return
  const guard: JsonPatchOperation = { op: 'test', path: '/metadata/uid', value: object.metadata.uid }
  await kube.patchJson(record.resource, record, [guard, ...remove], { metadataOnly: true, signal: context.signal })
}
