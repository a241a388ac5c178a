// Which fields of an object are left to others: by the rules of its application (spec.sync.ignoreFields) and by its own
// annotation fairlead.dev/ignore in Git. They are kept out of what is sent, so that we never own them. Pure.
import type { IgnoreRule } from '@fairlead/proto/common'
import { parseIgnoreAnnotation } from '@fairlead/shared/annotations'
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { type FieldPath, parseFieldPath } from '@fairlead/shared/field-path'
import { APPLICATION_LABEL, IGNORE_ANNOTATION, MANAGED_BY_LABEL } from '@fairlead/shared/labels'
import { formatObjectReference, type KubernetesObject } from '@fairlead/shared/object-reference'
import { type Declared, readDeclared } from './declared.ts'
import { removeFields, resolvePositions } from './field-removal.ts'

/** True when an object's annotation in Git says that it is left alone as a whole. */
export function isLeftAlone(object: KubernetesObject): boolean {
  return object.metadata.annotations?.[IGNORE_ANNOTATION] === 'true'
}

/** The object as it is sent: without the fields that are left to others. One whose annotation cannot be read is kept as it is, with the reason as its refusal. */
export function leaveOut(declared: Declared, object: KubernetesObject, rules: readonly IgnoreRule[]): Declared {
  let paths: readonly FieldPath[]
  try {
    const annotation = object.metadata.annotations?.[IGNORE_ANNOTATION]
    paths = [...findRulePaths(rules, declared), ...parseIgnoreAnnotation(annotation)]
  } catch (thrown) {
    const message = `${formatObjectReference(declared)}: annotation ${IGNORE_ANNOTATION}: ${toAppError(thrown).message}`
    const refusal = new AppError('InvalidManifest', message)
    return { ...declared, refusal, hash: sha256Hex(`${declared.hash}\0${message}`).slice(0, 32) }
  }
  if (paths.length === 0) return declared
  const whole = readDeclared(declared)
  const { labels = {} } = whole.metadata
  const rest = removeFields(whole, paths)
  const ours = { [MANAGED_BY_LABEL]: labels[MANAGED_BY_LABEL], [APPLICATION_LABEL]: labels[APPLICATION_LABEL] }
  // Labels may be left to others, all of them even; ours are how the object is known.
  const sent = { ...rest, metadata: { ...rest.metadata, labels: { ...rest.metadata.labels, ...ours } } }
  return {
    ...declared,
    body: Buffer.from(JSON.stringify(sent)),
    // Of what was decrypted no hash may be kept: that of the encrypted text tells as well whether anything changed.
    hash: sha256Hex(canonicalJson([declared.sensitive ? declared.hash : sent, paths])).slice(0, 32),
    ignored: resolvePositions(whole, paths),
  }
}

function findRulePaths(rules: readonly IgnoreRule[], object: Declared): FieldPath[] {
  return rules.filter((rule) => isOf(object, rule)).flatMap(({ paths }) => paths.map(parseFieldPath))
}

function isOf({ group, kind, namespace, name }: Declared, rule: IgnoreRule): boolean {
  return (
    (rule.group === '*' || rule.group === group) &&
    (rule.kind === '' || rule.kind === kind) &&
    (rule.namespace === '' || rule.namespace === namespace) &&
    (rule.name === '' || rule.name === name)
  )
}
