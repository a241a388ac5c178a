// The policy that the cluster's owner sets for the agent: parsed strictly and decided on, pure. Whatever the hub says, it holds.
import { AppError } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'

/** What the cluster's owner allows. Undefined lists allow everything. */
export interface ClusterPolicy {
  /** Nothing is written at all. */
  readonly paused: boolean
  /** Globs of namespaces; a Namespace object counts by its name. */
  readonly namespaces: readonly string[] | undefined
  /** Globs of `Kind.group`, of the core group `Kind`. */
  readonly kinds: readonly string[] | undefined
  /** Globs of `namespace/name`; when given, every application must name a service account. */
  readonly serviceAccounts: readonly string[] | undefined
  /** Objects may be deleted. */
  readonly prune: boolean
  /** CustomResourceDefinitions may be written and deleted. */
  readonly customResourceDefinitions: boolean
  /** Objects of cluster-scoped kinds may be written and deleted. */
  readonly clusterScoped: boolean
}

/** What is asked of the policy. */
export interface PolicyQuestion {
  readonly group: string
  readonly kind: string
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string
  readonly name: string
  readonly action: 'write' | 'delete'
  /** `namespace/name` of the service account that is used; empty for the agent's own. */
  readonly account: string
}

/** Nothing is restricted: there is no policy. */
export const OPEN_POLICY: ClusterPolicy = {
  paused: false,
  namespaces: undefined,
  kinds: undefined,
  serviceAccounts: undefined,
  prune: true,
  customResourceDefinitions: true,
  clusterScoped: true,
}

const LIST_KEYS = ['namespaces', 'kinds', 'serviceAccounts'] as const
const FLAG_KEYS = ['paused', 'prune', 'customResourceDefinitions', 'clusterScoped'] as const
const PATTERNS = {
  namespaces: /^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$/,
  kinds: /^(\*|[A-Za-z*][A-Za-z0-9*]*)(\.[a-z0-9*]([-a-z0-9.*]*[a-z0-9*])?)?$/,
  serviceAccounts: /^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?\/[a-z0-9*]([-a-z0-9.*]*[a-z0-9*])?$/,
} as const

/** Reads the policy's ConfigMap; without one nothing is restricted. Throws InvalidArgument for whatever is not understood: a policy that is half understood allows too much. */
export function parseClusterPolicy(configMap: KubernetesObject | undefined): ClusterPolicy {
  if (!configMap) return OPEN_POLICY
  if (configMap.binaryData !== undefined) throw invalid('binaryData', 'is not understood; use data')
  const data = (configMap.data ?? {}) as Record<string, unknown>
  const known: readonly string[] = [...LIST_KEYS, ...FLAG_KEYS]
  for (const key of Object.keys(data)) {
    if (!known.includes(key)) throw invalid(key, `is not known; known are ${known.join(', ')}`)
  }
  const lists = Object.fromEntries(LIST_KEYS.map((key) => [key, parseList(key, data[key])]))
  const flags = Object.fromEntries(FLAG_KEYS.map((key) => [key, parseFlag(key, data[key], OPEN_POLICY[key])]))
  return { ...OPEN_POLICY, ...lists, ...flags }
}

function parseFlag(key: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback
  if (value === 'true' || value === 'false') return value === 'true'
  throw invalid(key, 'must be "true" or "false"')
}

/** Entries are separated by commas or white space; an empty list allows nothing. */
function parseList(key: (typeof LIST_KEYS)[number], value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw invalid(key, 'must be text')
  const entries = value.split(/[\s,]+/).filter((entry) => entry !== '')
  for (const entry of entries) {
    if (!PATTERNS[key].test(entry))
      throw invalid(key, `holds ${JSON.stringify(entry.slice(0, 80))}, which can match nothing`)
  }
  return entries
}

function invalid(key: string, why: string): AppError {
  return new AppError('InvalidArgument', `${key} ${why}`, { context: { field: key } })
}

/** Why the policy forbids it, as the end of a sentence that begins with the object; undefined when it does not. */
export function findForbidden(policy: ClusterPolicy, asked: PolicyQuestion): string | undefined {
  const { group, kind, namespace, name, action, account } = asked
  if (policy.paused) return 'is left as it is: the policy of this cluster pauses the agent'
  if (action === 'delete' && !policy.prune) return 'is not deleted: the policy of this cluster allows no deletion'
  const isCrd = group === 'apiextensions.k8s.io' && kind === 'CustomResourceDefinition'
  if (isCrd && !policy.customResourceDefinitions) return 'is not allowed: the policy allows no CustomResourceDefinition'
  const isNamespace = group === '' && kind === 'Namespace'
  if (namespace === '' && !policy.clusterScoped) return 'is not allowed: the policy allows no cluster-scoped object'
  const space = isNamespace ? name : namespace
  if (space !== '' && !allows(policy.namespaces, space)) return 'is outside of the namespaces that the policy allows'
  const full = group === '' ? kind : `${kind}.${group}`
  if (!allows(policy.kinds, full)) return `is of a kind that the policy does not allow: ${full}`
  if (policy.serviceAccounts === undefined) return undefined
  if (account === '') return 'is not touched: the policy demands that the application names a service account'
  return allows(policy.serviceAccounts, account)
    ? undefined
    : `is not touched by ${account}: the policy does not allow it`
}

function allows(globs: readonly string[] | undefined, text: string): boolean {
  return globs === undefined || globs.some((glob) => matchesGlob(glob, text))
}

/** `*` stands for any number of characters. Linear in the text: a glob of the owner's must not be able to hang the agent. */
export function matchesGlob(glob: string, text: string): boolean {
  const parts = glob.split('*')
  const [first = ''] = parts
  const last = parts.at(-1) ?? ''
  if (parts.length === 1) return glob === text
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false
  let at = first.length
  const end = text.length - last.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}
