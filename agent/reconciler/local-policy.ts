// What this agent may not touch, whatever its hub says: the hub cannot widen what was allowed when it was installed.
import { AppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'

/** Why an object must neither be written nor deleted (ApplyForbidden); undefined when it may be. */
export type LocalPolicy = (object: PolicedObject) => AppError | undefined

/** What the policy looks at. */
export interface PolicedObject {
  readonly group: string
  readonly kind: string
  /** Empty for cluster-scoped kinds: what the agent may do of them only the API server says. */
  readonly namespace: string
  readonly name: string
}

/** Names of the agent's own state: its key, the kept slice and artifacts, the inventories. */
const OWN_STATE = /^fairlead-(agent-(identity|slice|artifact-.*)|inventory-.*)$/

/** The policy of an agent in `ownNamespace` that may work in `namespaces`; undefined: in all. */
export function createLocalPolicy(ownNamespace: string, namespaces: readonly string[] | undefined): LocalPolicy {
  return (object) => {
    const { group, kind, namespace, name } = object
    const refuse = (why: string): AppError => new AppError('ApplyForbidden', `${formatObjectReference(object)} ${why}`)
    const isState = group === '' && (kind === 'Secret' || kind === 'ConfigMap') && OWN_STATE.test(name)
    if (isState && namespace === ownNamespace) return refuse("is the agent's own state")
    if (namespace !== '' && namespaces && !namespaces.includes(namespace)) {
      return refuse(`is outside of the namespaces that this agent may work in: ${namespaces.join(', ')}`)
    }
    return undefined
  }
}
