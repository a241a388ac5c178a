// What values of a cluster may be. Pure.
import { findLabelKeyProblem } from './label-selector.ts'

/** Values of a cluster by key. */
export type ClusterValues = Readonly<Record<string, string>>

/** Largest value of a cluster, in bytes of UTF-8. */
export const VALUE_MAX_BYTES = 4096
/** Largest sum of a cluster's keys and values, in bytes: all of them travel in each of its slices. */
export const VALUES_MAX_BYTES = 64 * 1024

/** Everything that is wrong with all values of a cluster. Never shows a value. */
export function findValuesProblems(values: ClusterValues): string[] {
  const problems = Object.entries(values).flatMap(([key, value]) => {
    const keyProblem = findLabelKeyProblem(key)?.replace('label key', 'key')
    const sizeBytes = Buffer.byteLength(value)
    const tooLarge =
      sizeBytes > VALUE_MAX_BYTES ? `${key} has ${sizeBytes} bytes; the limit is ${VALUE_MAX_BYTES}` : undefined
    const notText = value.isWellFormed() && !value.includes('\0') ? undefined : `${key} is not text`
    return [keyProblem, tooLarge, notText].filter((problem) => problem !== undefined)
  })
  const total = Object.entries(values).reduce((sum, pair) => sum + Buffer.byteLength(pair.join('')), 0)
  if (total > VALUES_MAX_BYTES) problems.push(`all together have ${total} bytes; the limit is ${VALUES_MAX_BYTES}`)
  return problems
}
