// Kinds of the core group that the agent asks for by itself: every API server serves them, so they are not looked up.
import type { ResourceType } from './kube.ts'

/** ConfigMaps. */
export const CONFIG_MAPS = coreKind('ConfigMap', 'configmaps')
/** Secrets. */
export const SECRETS = coreKind('Secret', 'secrets')
/** ServiceAccounts. */
export const SERVICE_ACCOUNTS = coreKind('ServiceAccount', 'serviceaccounts')

/** A namespaced kind of the core group, version v1. */
export function coreKind(kind: string, plural: string): ResourceType {
  return { group: '', version: 'v1', kind, plural, namespaced: true, verbs: [] }
}
