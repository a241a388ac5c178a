// Objects that get another namespace: the old one stays until the one in its place was applied for the first time. A
// namespace that is not there, or where the agent may not write, must not cost what runs.
import type { Application } from './application.ts'
import type { ObjectRecord } from './object-record.ts'
import type { DesiredTarget } from './target.ts'

/** Writes down where objects that are no longer declared move to and have not arrived. What has arrived is decided on anew, at once. */
export function noteMoves(application: Application, dropped: readonly ObjectRecord[], target: DesiredTarget): void {
  const awaited = findAwaited(application, target.policy.namespace || 'default')
  for (const record of dropped) {
    const movesTo = (record.namespace !== '' && awaited.get(nameOf(record))) || ''
    if (record.movesTo !== '' && movesTo === '') record.failure = undefined
    record.movesTo = movesTo
  }
}

/** What is declared in a namespace and was never applied there, to that namespace. */
function findAwaited({ name, loaded, context }: Application, defaultNamespace: string): Map<string, string> {
  const awaited = new Map<string, string>()
  if (!loaded) return awaited
  for (const declared of loaded.declared.values()) {
    const record = context.table.find(declared.key)
    const isThere = record?.application === name && record.applied !== undefined
    if (declared.namespace !== '' && !isThere) awaited.set(nameOf(declared), declared.namespace)
  }
  for (const { parsed, error } of [...loaded.unresolved, ...loaded.refused]) {
    const { group, kind, object } = parsed
    const { name, namespace = defaultNamespace } = object.metadata
    if (error.code !== 'DuplicateObject') awaited.set(nameOf({ group, kind, name }), namespace)
  }
  return awaited
}

function nameOf({ group, kind, name }: Pick<ObjectRecord, 'group' | 'kind' | 'name'>): string {
  return `${group}/${kind}/${name}`
}
