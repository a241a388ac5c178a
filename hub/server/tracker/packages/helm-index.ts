// The index of a Helm repository, index.yaml: which versions of a chart there are, and where (helm.sh/docs/topics/chart_repository).
import { AppError } from '@fairlead/shared/errors'
import { FAILSAFE_SCHEMA, load } from 'js-yaml'

/** One version of a chart in an index. */
export interface ChartVersion {
  readonly version: string
  /** SHA-256 of the archive in hexadecimal; undefined when the index does not say. */
  readonly digest: string | undefined
  /** As written: an address, or a path below that of the index. */
  readonly url: string
}

/** Largest index in bytes. */
export const INDEX_MAX_BYTES = 64 * 1024 * 1024
const MAX_VERSIONS = 20_000

/** The versions of those charts that are in an index. Throws RepositoryUnreachable for what is no index. */
export function parseHelmIndex(
  index: Uint8Array,
  charts: readonly string[],
): ReadonlyMap<string, readonly ChartVersion[]> {
  const entries = objectOf(objectOf(parse(Buffer.from(index).toString('utf8')))?.entries)
  if (entries === undefined) throw new AppError('RepositoryUnreachable', 'index.yaml is no index of a Helm repository')
  return new Map(
    charts.flatMap((chart) => {
      const versions = Object.hasOwn(entries, chart) ? entries[chart] : undefined
      return Array.isArray(versions) ? [[chart, versions.slice(0, MAX_VERSIONS).flatMap(versionOf)] as const] : []
    }),
  )
}

function versionOf(entry: unknown): ChartVersion[] {
  const { version, digest, urls } = objectOf(entry) ?? {}
  const url = Array.isArray(urls) ? urls.find((each) => typeof each === 'string') : undefined
  if (typeof version !== 'string' || url === undefined) return []
  const hex = typeof digest === 'string' ? /^(?:sha256:)?([0-9a-f]{64})$/.exec(digest)?.[1] : undefined
  return [{ version, digest: hex, url }]
}

/** Large indexes are JSON, which is YAML too, but read in a fraction of the time. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // No JSON.
  }
  try {
    // Text only: the version 1.10 is no number.
    return load(text, { schema: FAILSAFE_SCHEMA })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new AppError('RepositoryUnreachable', `index.yaml cannot be read: ${reason}`, { cause })
  }
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}
