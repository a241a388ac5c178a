// Maps and lists of an object's metadata that are declared empty, such as `annotations: {}`: the API server keeps none of
// them, but notes them as ours until somebody puts something in, or takes that away again. They are not sent. Nor are the
// empty rules of a NetworkPolicy: it keeps none of these either, and counts a new generation each time that it is sent
// one (seen on 1.36). What that means is said by `policyTypes`, which stays. Pure.

const EMPTIED = new Set(['annotations', 'labels', 'finalizers', 'ownerReferences'])
const RULES = new Set(['ingress', 'egress'])
/** Groups whose templates have metadata as objects have; what a custom resource keeps of one is its own affair. */
const GROUPS_WITH_TEMPLATES = new Set(['', 'apps', 'batch'])
const TEMPLATES = [
  ['template'],
  ['spec', 'template'],
  ['spec', 'jobTemplate'],
  ['spec', 'jobTemplate', 'spec', 'template'],
]

/** The object of an API group without them, in its own metadata and that of its templates. The object given is left as it is. */
export function withoutEmptyMetadata<T extends object>(object: T, group: string): T {
  let result: object = editAt(object, ['metadata'], (inner) => withoutEmpty(inner, EMPTIED))
  if (group === 'networking.k8s.io' && (object as { kind?: unknown }).kind === 'NetworkPolicy') {
    result = editAt(result, ['spec'], (inner) => withoutEmpty(inner, RULES))
  }
  if (!GROUPS_WITH_TEMPLATES.has(group)) return result as T
  for (const path of TEMPLATES) result = editAt(result, [...path, 'metadata'], (inner) => withoutEmpty(inner, EMPTIED))
  return result as T
}

function withoutEmpty(map: object, fields: ReadonlySet<string>): object {
  const entries = Object.entries(map)
  const kept = entries.filter(([field, value]) => !(fields.has(field) && isEmpty(value)))
  return kept.length === entries.length ? map : Object.fromEntries(kept)
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

function editAt(object: object, [field, ...rest]: readonly string[], edit: (inner: object) => object): object {
  if (field === undefined) return edit(object)
  const inner = (object as Record<string, unknown>)[field]
  if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return object
  const edited = editAt(inner, rest, edit)
  return edited === inner ? object : { ...object, [field]: edited }
}
