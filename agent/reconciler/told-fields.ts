// Fields as anybody may be told of them: in reports, Events and previews. Pure.
import type { Declared } from '../applier/declared.ts'

/**
 * Paths to fields of an object. Items of lists are named by values of theirs: where those may have been decrypted, paths
 * say only that there is an item. So too where that is not known: `declared` is undefined for what is no longer declared.
 */
export function toldFields(
  declared: Pick<Declared, 'sensitive'> | undefined,
  fields: readonly string[],
): readonly string[] {
  if (declared && !declared.sensitive) return fields
  // From the first bracket to the last: what stands between them may hold brackets itself.
  return [...new Set(fields.map((field) => field.replace(/\[.*\]/s, '[…]')))]
}
