// The addresses of registries and Helm repositories, and the refs that name versions and digests of their packages. Pure.
import type { RepositorySpec } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'

/** Where a repository's packages are. */
export type PackagePlace =
  | { readonly kind: 'oci' /** http(s)://<host>. */; readonly registry: string; readonly name: string }
  | { readonly kind: 'helm'; readonly url: string }

/** What a ref of a package asks for. */
export interface PackageRef {
  /** Chart of a Helm repository; empty for the one artifact that an OCI address names. */
  readonly chart: string
  /** A version or tag, or `semver:<range>`; empty for the newest, or for whatever has the digest. */
  readonly version: string
  /** SHA-256 in hexadecimal that the package must have; undefined for any. */
  readonly digest: string | undefined
}

const OCI = /^oci(\+http)?:\/\/([^/?#@]+)\/([^?#]+)$/
/** github.com/opencontainers/distribution-spec, "Pulling manifests". */
const OCI_NAME = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/
const OCI_TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const CHART = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,249}$/
const DIGEST = /^sha256:([0-9a-f]{64})$/
const RANGE = 'semver:'

/** True for repositories whose content comes packed: from an OCI registry or a Helm repository. */
export function holdsPackages({ url, helm }: Pick<RepositorySpec, 'url' | 'helm'>): boolean {
  return helm !== undefined || isOciAddress(url)
}

/** True for addresses of OCI registries. */
export function isOciAddress(url: string): boolean {
  return url.startsWith('oci://') || url.startsWith('oci+http://')
}

/** What is wrong with an address that begins like one of an OCI registry; undefined when nothing is. */
export function findOciAddressProblem(url: string): string | undefined {
  const match = OCI.exec(url)
  const isWell =
    match !== null && OCI_NAME.test(match[3]?.replace(/\/+$/, '') ?? '') && URL.canParse(`https://${match[2]}`)
  return isWell
    ? undefined
    : 'is no address of an OCI registry: write oci://<host>/<name>, in lower case, without a tag'
}

/** Where the packages of a chart, or of the repository itself, are. Throws InvalidArgument for addresses that are none. */
export function placeOf({ url, helm }: Pick<RepositorySpec, 'url' | 'helm'>, chart: string): PackagePlace {
  if (!isOciAddress(url)) return { kind: 'helm', url: url.replace(/\/+$/, '') }
  const [, insecure, host, base = ''] = OCI.exec(url) ?? []
  const folder = base.replace(/\/+$/, '')
  const name = helm ? `${folder}/${chart}` : folder
  if (host === undefined || !OCI_NAME.test(name)) {
    throw new AppError('InvalidArgument', `${name} is no name in an OCI registry`)
  }
  return { kind: 'oci', registry: `${insecure ? 'http' : 'https'}://${host}`, name }
}

/** What a followed ref asks for: a version, `semver:<range>`, `sha256:<digest>`, `<version>@sha256:<digest>`, a bare digest, or nothing. Throws InvalidArgument with what is wrong. */
export function parsePackageRef({ helm }: Pick<RepositorySpec, 'helm'>, followed: string): PackageRef {
  const end = helm ? followed.indexOf(':') : -1
  const chart = helm && end > 0 ? followed.slice(0, end) : ''
  if (helm && !CHART.test(chart)) {
    throw new AppError('InvalidArgument', 'the repository is one of charts: name the chart in spec.source.chart')
  }
  const ref = followed.slice(end + 1)
  if (/^[0-9a-f]{64}$/.test(ref)) return { chart, version: '', digest: ref }
  const at = ref.lastIndexOf('@')
  const [version, digest] =
    at >= 0 ? [ref.slice(0, at), ref.slice(at + 1)] : DIGEST.test(ref) ? ['', ref] : [ref, undefined]
  const hex = digest === undefined ? undefined : DIGEST.exec(digest)?.[1]
  if (digest !== undefined && hex === undefined) {
    throw new AppError('InvalidArgument', `${digest} is no digest: sha256: and 64 hexadecimal digits`)
  }
  if (!helm && version.includes(':') && !version.startsWith(RANGE)) {
    throw new AppError(
      'InvalidArgument',
      'spec.source.chart is for Helm repositories; this one is a single OCI artifact',
    )
  }
  return { chart, version, digest: hex }
}

/** True for a ref that only packages have: with a digest. */
export function isDigestRef(ref: string): boolean {
  const at = ref.lastIndexOf('@')
  return DIGEST.test(ref.slice(at + 1)) && (at < 0 || isTag(tagOf(ref.slice(0, at))))
}

/** What is wrong with `spec.source.chart`; undefined when nothing is. */
export function findChartProblem(chart: string): string | undefined {
  return chart === '' || CHART.test(chart) ? undefined : `${JSON.stringify(chart.slice(0, 80))} is no name of a chart`
}

/** The tag of a version: registries know no plus sign, and Helm writes an underscore in its place. */
export function tagOf(version: string): string {
  return version.replaceAll('+', '_')
}

/** True for what may be a tag. */
export function isTag(text: string): boolean {
  return OCI_TAG.test(text)
}
