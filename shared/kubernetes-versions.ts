// Versions of Kubernetes that are known by their schemas.
import { AppError } from './errors.ts'

/** Oldest first. */
export const SCHEMA_VERSIONS = ['1.32', '1.33', '1.34', '1.35', '1.36'] as const

/** One of them. */
export type SchemaVersion = (typeof SCHEMA_VERSIONS)[number]

/** Reads `1.36` or `v1.36.3`. Throws InvalidArgument for a version that is not known. */
export function parseSchemaVersion(text: string): SchemaVersion {
  const minor = /^v?(\d+\.\d+)(\.\d+)?$/.exec(text)?.[1]
  const found = SCHEMA_VERSIONS.find((version) => version === minor)
  if (found) return found
  const known = SCHEMA_VERSIONS.join(', ')
  throw new AppError(
    'InvalidArgument',
    `there are no schemas of Kubernetes ${text.slice(0, 40)}; there are of ${known}`,
  )
}
