// Paths of what a render reads from elsewhere than its own repository. They begin with a slash, which no path in Git does. Pure.

/** A file of another repository, with values for a chart: /values/<repository>@<ref>/<path>. */
export interface ValuesMount {
  readonly kind: 'values'
  readonly repository: string
  readonly ref: string
  readonly path: string
}

/** A chart that another one depends on: /charts/<address>/<name>/<version>, as hub/engine/dependencies.go asks for it. */
export interface ChartMount {
  readonly kind: 'chart'
  /** Of its repository, as the chart that needs it names it. */
  readonly address: string
  readonly name: string
  readonly version: string
  /** Digest of the package that was read; empty in a path that asks for it. */
  readonly digest: string
}

/** A folder of another repository, at a commit: /git/<address>/<commit>/<path>, as hub/engine/remote_bases.go asks for it. */
export interface BaseMount {
  readonly kind: 'base'
  /** Of the repository, as the kustomization names it. */
  readonly address: string
  readonly commit: string
  readonly path: string
}

/** The path of a value file in another repository. */
export function formatValuesMount({ repository, ref, path }: Omit<ValuesMount, 'kind'>): string {
  return `/values/${repository}@${encodeURIComponent(ref)}/${path}`
}

/** The path of a chart as it was read: what is asked for, with the digest that was found. */
export function formatReadChart(asked: string, digest: string): string {
  return `${asked}#${digest}`
}

/** What a path means; undefined for one of the application's own repository. */
export function findMount(path: string): ValuesMount | ChartMount | BaseMount | undefined {
  const [, values, ref = '', below = ''] = /^\/values\/([^/@]+)@([^/]*)\/(.+)$/s.exec(path) ?? []
  if (values !== undefined) return { kind: 'values', repository: values, ref: decode(ref), path: below }
  const [, base, commit = '', folder = ''] =
    /^\/git\/([^/]+)\/([0-9a-f]{40}|[0-9a-f]{64})(?:\/(.+))?$/s.exec(path) ?? []
  if (base !== undefined) return { kind: 'base', address: decode(base), commit, path: folder }
  const [, address, name = '', version = '', digest = ''] =
    /^\/charts\/([^/]+)\/([^/]+)\/([^/#]+)(?:#([0-9a-f]+))?$/.exec(path) ?? []
  if (address === undefined) return undefined
  return { kind: 'chart', address: decode(address), name: decode(name), version: decode(version), digest }
}

/** Never throws: what was encoded otherwise stays as it is, and names nothing. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
