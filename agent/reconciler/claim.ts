// Who owns what when an application says what it declares: added, kept, taken over from one that lets go, or contested.
import { diffInventory } from '../inventory/inventory.ts'
import type { Application } from './application.ts'
import type { ReconcilerContext } from './context.ts'
import type { LoadedManifests } from './load-declared.ts'
import { newRecord, type ObjectRecord } from './object-record.ts'
import { noteTargets } from './scaled-objects.ts'

/** Says which objects are its own from now on. Without a wait in between: owners never change half. */
export function claimDeclared(application: Application, { declared, leftAlone }: LoadedManifests): void {
  const { name, context } = application
  const { table, neighbours } = context
  forgetLeftAlone(application, leftAlone)
  const diff = diffInventory({
    application: name,
    declared: declared.keys(),
    owned: application.records().map(({ key }) => key),
    ownerOf: (key) => table.find(key)?.application,
    isClaimedByOwner: (key) => isClaimed(table.find(key), neighbours),
  })
  for (const [key, object] of declared) {
    const record = table.find(key)
    if (!record) table.add(newRecord(object, name))
    else if (record.application === name) redeclare(record, object)
  }
  for (const key of diff.moved) takeOwnership(application, key, declared)
  for (const key of diff.dropped) {
    const record = table.find(key)
    if (record) record.declared = undefined
  }
  noteTargets(application.records(), context.autoscalers)
  application.contested = diff.contested
  table.contest(name, diff.contested)
  for (const key of diff.contested) neighbours.get(table.find(key)?.application ?? '')?.noteChange()
  // Others may have waited to hear whether these are let go.
  for (const key of diff.dropped) for (const other of table.contesters(key)) neighbours.get(other)?.wake()
}

/** What Git says to leave alone is not ours any more, and stays in the cluster exactly as it is. */
function forgetLeftAlone({ name, context }: Application, keys: ReadonlySet<string>): void {
  for (const key of keys) {
    const record = context.table.find(key)
    if (record?.application !== name) continue
    record.declared = undefined
    context.table.remove(record)
    for (const other of context.table.contesters(key)) context.neighbours.get(other)?.wake()
  }
}

function takeOwnership(application: Application, key: string, declared: LoadedManifests['declared']): void {
  const { table, neighbours } = application.context
  const record = table.find(key)
  const object = declared.get(key)
  if (!record || !object) return
  const owner = record.application
  table.move(record, application.name)
  redeclare(record, object)
  // Only after this application has it in its inventory does the other one forget it.
  void application.save().then(
    () => neighbours.get(owner)?.wake(),
    () => undefined,
  )
}

/** True while the owner of an object declares it, also in a revision that is held back, or has not yet said whether it does. */
function isClaimed(record: ObjectRecord | undefined, neighbours: ReconcilerContext['neighbours']): boolean {
  const owner = record && neighbours.get(record.application)
  if (!record || !owner?.target || owner.target.kind === 'tombstone') return false
  return !owner.isLoaded || record.declared !== undefined || owner.declares(record.key)
}

function redeclare(record: ObjectRecord, declared: ObjectRecord['declared']): void {
  // What is new is applied at once, also in a fight over what was.
  if (record.declared?.hash !== declared?.hash) record.yieldUntilMs = 0
  if (record.declared?.hash !== declared?.hash || record.failure?.error.code === 'PruneHeld') record.failure = undefined
  record.declared = declared
  record.approvedUid = ''
  record.approvedTakes = []
  record.wave = declared?.wave ?? record.wave
}
