// Reading metadata.managedFields: who owns which fields (Kubernetes, "Server-Side Apply", "Field management").
// Everything here is pure and never looks at values: fieldsV1 holds names only.
import { createHash } from 'node:crypto'
import { canonicalJson } from '@fairlead/shared/digest'
import { FIELD_MANAGER } from '@fairlead/shared/labels'
import type { KubernetesObject, ManagedFieldsEntry } from '@fairlead/shared/object-reference'

/** A fieldsV1 set: keys are `f:<field>`, `k:<list keys>`, `v:<value>`, `i:<index>`, or `.` for the node itself. */
export type FieldSet = { readonly [step: string]: FieldSet }

/** Managers through which people write: kubectl in all its spellings, dashboards and browsers. */
export const PERSON_MANAGERS =
  /^(kubectl|before-first-apply|k9s|oc(-|$)|lens|headlamp|mozilla|dashboard|kubernetes-dashboard|freelens|openlens|octant|curl|postman)/i

/** A restart that a person asked for (`kubectl rollout restart`) is no drift. */
const RESTARTED_AT = ['f:spec', 'f:template', 'f:metadata', 'f:annotations', 'f:kubectl.kubernetes.io/restartedAt']

/** True for the entry that our own server-side applies make. */
export function isOurEntry(entry: ManagedFieldsEntry): boolean {
  return entry.manager === FIELD_MANAGER && entry.operation === 'Apply' && !entry.subresource
}

/** Our own entry; undefined when we own nothing. */
export function findOurEntry(object: KubernetesObject): ManagedFieldsEntry | undefined {
  return object.metadata.managedFields?.find(isOurEntry)
}

/** 22 characters that are equal exactly when we own the same fields; empty when we own none. */
export function hashOurEntry(object: KubernetesObject): string {
  return hashEntry(findOurEntry(object))
}

/** The hash of one entry, as hashOurEntry. */
export function hashEntry(entry: ManagedFieldsEntry | undefined): string {
  if (!entry) return ''
  const text = canonicalJson([entry.apiVersion, entry.fieldsV1 ?? {}])
  return createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url')
}

/** The fields of an entry. */
export function fieldsOf(entry: ManagedFieldsEntry | undefined): FieldSet {
  return (entry?.fieldsV1 ?? {}) as FieldSet
}

/** An entry of a person, split into what must go and what may stay. */
export interface PersonEntry {
  readonly entry: ManagedFieldsEntry
  /** Everything but the restart annotation. */
  readonly taken: FieldSet
  /** The restart annotation alone; undefined when the entry does not own it. */
  readonly kept: FieldSet | undefined
}

/** The entries of persons that own anything that must not be there. Subresources (status, scale) are not looked at. */
export function findPersonEntries(object: KubernetesObject, persons: RegExp = PERSON_MANAGERS): PersonEntry[] {
  const found: PersonEntry[] = []
  for (const entry of object.metadata.managedFields ?? []) {
    if (entry.subresource || isOurEntry(entry) || !persons.test(entry.manager ?? '')) continue
    const { taken, kept } = splitRestart(fieldsOf(entry))
    if (Object.keys(taken).length > 0) found.push({ entry, taken, kept })
  }
  return found
}

function splitRestart(fields: FieldSet): { taken: FieldSet; kept: FieldSet | undefined } {
  const restart = RESTARTED_AT.reduceRight<FieldSet>((inner, step) => ({ [step]: inner }), {})
  if (!hasPath(fields, RESTARTED_AT)) return { taken: fields, kept: undefined }
  // The containers on the way ('.') were made for the annotation: they alone are no reason to act.
  const taken = subtractFields(fields, restart)
  return { taken: listLeaves(taken).every(isContainerOfRestart) ? {} : taken, kept: restart }
}

function isContainerOfRestart(path: readonly string[]): boolean {
  return path.at(-1) === '.' && path.slice(0, -1).every((step, index) => RESTARTED_AT[index] === step)
}

function hasPath(fields: FieldSet, path: readonly string[]): boolean {
  let node: FieldSet | undefined = fields
  for (const step of path) node = node?.[step]
  return node !== undefined
}

/** Both sets together. */
export function unionFields(a: FieldSet, b: FieldSet): FieldSet {
  const union: Record<string, FieldSet> = { ...a }
  for (const [step, inner] of Object.entries(b)) {
    const known = union[step]
    union[step] = known ? unionFields(known, inner) : inner
  }
  return union
}

/** What is in `a` and not in `b`. */
export function subtractFields(a: FieldSet, b: FieldSet): FieldSet {
  const rest: Record<string, FieldSet> = {}
  for (const [step, inner] of Object.entries(a)) {
    const other = b[step]
    if (!other) {
      rest[step] = inner
      continue
    }
    const remaining = subtractFields(inner, other)
    if (Object.keys(remaining).length > 0) rest[step] = remaining
  }
  return rest
}

function listLeaves(fields: FieldSet, path: readonly string[] = []): string[][] {
  const steps = Object.entries(fields)
  if (steps.length === 0) return path.length === 0 ? [] : [[...path]]
  return steps.flatMap(([step, inner]) => listLeaves(inner, [...path, step]))
}

/** Paths for people, such as `spec.template.spec.containers[name=web].image`; sorted, at most `limit` (default 20). Never values of fields. */
export function formatFieldPaths(fields: FieldSet, limit = 20): string[] {
  const paths = new Set<string>()
  for (const leaf of listLeaves(fields)) paths.add(formatPath(leaf))
  paths.delete('')
  return [...paths].sort().slice(0, limit)
}

function formatPath(steps: readonly string[]): string {
  let path = ''
  for (const step of steps) {
    const [kind, rest] = [step.slice(0, 2), step.slice(2)]
    if (kind === 'f:') path += /^[\w-]+$/.test(rest) ? `${path === '' ? '' : '.'}${rest}` : `[${rest}]`
    else if (kind === 'k:') path += `[${formatKeys(rest)}]`
    else if (kind === 'i:') path += `[${rest}]`
    // v: is a member of a set, whose name is its value: say only that one was there.
    else if (kind === 'v:') path += '[]'
  }
  return path
}

function formatKeys(json: string): string {
  try {
    const keys = Object.entries(JSON.parse(json) as Record<string, unknown>)
    return keys.map(([key, value]) => `${key}=${String(value)}`).join(',')
  } catch {
    return ''
  }
}

/** True when everything in `fields` is declared too, so that one forced apply takes it all over. */
export function isDeclared(fields: FieldSet, declared: unknown): boolean {
  return Object.entries(fields).every(([step, inner]) => {
    if (step === '.') return declared !== undefined
    const value = stepInto(declared, step)
    return value !== undefined && isDeclared(inner, value)
  })
}

function stepInto(value: unknown, step: string): unknown {
  const [kind, rest] = [step.slice(0, 2), step.slice(2)]
  if (kind === 'f:') return isRecord(value) ? value[rest] : undefined
  if (!Array.isArray(value)) return undefined
  if (kind === 'i:') return value[Number(rest)]
  const wanted: unknown = JSON.parse(rest)
  if (kind === 'v:') return value.find((item) => canonicalJson(item) === canonicalJson(wanted))
  return value.find(
    (item) => isRecord(item) && isRecord(wanted) && Object.entries(wanted).every(([key, part]) => item[key] === part),
  )
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const REPLICAS: FieldSet = { 'f:spec': { 'f:replicas': {} } }

/** True when an autoscaler, not a person, set spec.replicas through the scale subresource. */
export function isScaledByController(object: KubernetesObject, persons: RegExp = PERSON_MANAGERS): boolean {
  return (object.metadata.managedFields ?? []).some(
    (entry) =>
      entry.subresource === 'scale' &&
      !persons.test(entry.manager ?? '') &&
      entry.manager !== FIELD_MANAGER &&
      hasPath(fieldsOf(entry), ['f:spec', 'f:replicas']),
  )
}

/** The hash that our entry would have if it owned spec.replicas too. */
export function hashWithReplicas(object: KubernetesObject): string {
  const entry = findOurEntry(object)
  return entry ? hashEntry({ ...entry, fieldsV1: unionFields(fieldsOf(entry), REPLICAS) }) : ''
}

/** Who wrote last besides us, status writers left out; of several at the same second the one that owns most of `lost`. Empty when it cannot be told. */
export function findRival(object: KubernetesObject, lost: FieldSet = {}): string {
  const entries = (object.metadata.managedFields ?? []).filter(
    (entry) => !isOurEntry(entry) && entry.subresource !== 'status',
  )
  const score = (entry: ManagedFieldsEntry): number =>
    listLeaves(lost).length - listLeaves(subtractFields(lost, fieldsOf(entry))).length
  entries.sort((a, b) => score(b) - score(a) || (b.time ?? '').localeCompare(a.time ?? ''))
  return entries[0]?.manager ?? ''
}
