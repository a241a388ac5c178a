// Maps and lists of an object's metadata that are declared empty, such as `annotations: {}`: the API server keeps none of
// them, but notes them as ours until somebody puts something in, or takes that away again. They are not sent. Pure.

const EMPTIED = new Set(['annotations', 'labels', 'finalizers', 'ownerReferences'])
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
  let result: object = editAt(object, ['metadata'], withoutEmpty)
  if (!GROUPS_WITH_TEMPLATES.has(group)) return result as T
  for (const path of TEMPLATES) result = editAt(result, [...path, 'metadata'], withoutEmpty)
  return result as T
}

function withoutEmpty(metadata: object): object {
  const entries = Object.entries(metadata)
  const kept = entries.filter(([field, value]) => !(EMPTIED.has(field) && isEmpty(value)))
  return kept.length === entries.length ? metadata : Object.fromEntries(kept)
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
