// What this agent may not touch, whatever its hub says: its own state, what it was not installed for, and what the
// cluster's owner forbids. Asked right before every write, deletions included.
import { AppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { findForbidden } from '../policy/cluster-policy.ts'
import type { PolicyState } from '../policy/policy-watch.ts'

/** Why an object must neither be written nor deleted (ApplyForbidden, PolicyForbids); undefined when it may be. */
export type LocalPolicy = (object: PolicedObject, action?: 'write' | 'delete') => AppError | undefined

/** What the policy looks at. */
export interface PolicedObject {
  readonly group: string
  readonly kind: string
  /** Empty for cluster-scoped kinds: what the agent may do of them only the API server says. */
  readonly namespace: string
  readonly name: string
  /** The application on whose behalf it is touched. */
  readonly application: string
}

/** What a policy is made from. */
export interface LocalPolicyOptions {
  readonly ownNamespace: string
  /** Namespaces that the agent was installed for; undefined: all. */
  readonly namespaces: readonly string[] | undefined
  /** What the cluster's owner allows. */
  readonly policy: () => PolicyState
  /** `namespace/name` of the service account of an application; empty for the agent's own. */
  readonly accountOf: (application: string) => string
}

/** Everything that keeps the agent itself going: its key, the kept slice and artifacts, the inventories, its policy, its rights. */
const OWN = /^fairlead-(agent|inventory)([-.].*)?$/

/** The policy of an agent. */
export function createLocalPolicy(options: LocalPolicyOptions): LocalPolicy {
  const { ownNamespace, namespaces, policy, accountOf } = options
  return (object, action = 'write') => {
    const { namespace, application } = object
    const refuse = (why: string, code: 'ApplyForbidden' | 'PolicyForbids' = 'ApplyForbidden'): AppError =>
      new AppError(code, `${formatObjectReference(object)} ${why}`)
    if (isOwn(object, ownNamespace)) return refuse("is the agent's own")
    if (namespace !== '' && namespaces && !namespaces.includes(namespace)) {
      return refuse(`is outside of the namespaces that this agent may work in: ${namespaces.join(', ')}`)
    }
    const state = policy()
    if (state.kind === 'unknown')
      return refuse('is not touched before the policy of this cluster is known', 'PolicyForbids')
    if (state.kind === 'invalid') {
      return refuse(`is not touched: the policy of this cluster is not valid: ${state.message}`, 'PolicyForbids')
    }
    const why = findForbidden(state.policy, { ...object, action, account: accountOf(application) })
    return why === undefined ? undefined : refuse(why, 'PolicyForbids')
  }
}

function isOwn({ namespace, name }: PolicedObject, ownNamespace: string): boolean {
  if (namespace === ownNamespace) return OWN.test(name)
  // Its rights in the whole cluster, by the name that the chart gives them.
  return name === `fairlead-agent-${ownNamespace}` && namespace === ''
}
