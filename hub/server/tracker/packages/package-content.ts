// Which part of an OCI artifact holds its files: as Flux, Argo CD, ORAS and Helm publish them. Pure.
import { AppError } from '@fairlead/shared/errors'
import type { ManifestContent, OciDescriptor } from './oci-registry.ts'

/** The files of an artifact. */
export interface PackageContent {
  readonly layer: OciDescriptor
  /** Charts lie in a folder of their own inside of the archive. */
  readonly isChart: boolean
}

const CHART_CONFIG = 'application/vnd.cncf.helm.config.v1+json'
const CHART_LAYER = 'application/vnd.cncf.helm.chart.content.v1.tar+gzip'
/** application/vnd.cncf.flux.content.v1.tar+gzip, application/vnd.oci.image.layer.v1.tar+gzip, application/vnd.docker.image.rootfs.diff.tar.gzip and the like. */
const ARCHIVE = /[./](tar|tar\+gzip|tar\.gzip|tgz|gzip)$/

/** The one layer with the files. Throws FetchFailed when there is none, or which one is meant cannot be told. */
export function findPackageContent({ configMediaType, layers, manifests }: ManifestContent): PackageContent {
  if (manifests.length > 0) {
    throw new AppError('FetchFailed', 'the tag names an index of several artifacts: name one of them by its digest')
  }
  const isChart = configMediaType === CHART_CONFIG
  const archives = layers.filter(({ mediaType }) => (isChart ? mediaType === CHART_LAYER : ARCHIVE.test(mediaType)))
  const [layer] = archives
  if (layer && archives.length === 1) return { layer, isChart }
  const types = layers.map(({ mediaType }) => mediaType.slice(0, 80)).slice(0, 5)
  const found = types.length === 0 ? 'no layer' : `layers of ${types.join(', ')}`
  throw new AppError('FetchFailed', `the artifact must have exactly one layer that is a tar archive; it has ${found}`)
}
