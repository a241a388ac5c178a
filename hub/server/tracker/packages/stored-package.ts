// One package on disk: the archive, and for an OCI artifact the manifest that its digest is of. Checked each time it is read.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { parseManifest } from './oci-registry.ts'
import { findPackageContent } from './package-content.ts'

/** Which package. */
export interface StoredPackage {
  /** Of the repository's packages. */
  readonly folder: string
  /** SHA-256 in hexadecimal: of the manifest, or of a chart that has none. */
  readonly digest: string
}

/** Where the parts of a package are. */
export function filesOf({ folder, digest }: StoredPackage): { readonly archive: string; readonly manifest: string } {
  return { archive: path.join(folder, `${digest}.tgz`), manifest: path.join(folder, `${digest}.json`) }
}

/** The archive of a package. Throws FetchFailed when it is not there or damaged. */
export function readPackage(stored: StoredPackage): { readonly archive: Uint8Array; readonly isChart: boolean } {
  const files = filesOf(stored)
  if (!existsSync(files.archive)) throw damaged(stored, 'is missing')
  const archive = readFileSync(files.archive)
  const now = new Date()
  // When it was used last.
  utimesSync(files.archive, now, now)
  if (!existsSync(files.manifest)) {
    if (hash(archive) !== stored.digest) throw damaged(stored, 'is damaged')
    return { archive, isChart: true }
  }
  const manifest = readFileSync(files.manifest)
  if (hash(manifest) !== stored.digest) throw damaged(stored, 'is damaged')
  const { layer, isChart } = findPackageContent(parseManifest(manifest))
  if (`sha256:${hash(archive)}` !== layer.digest) throw damaged(stored, 'is damaged')
  return { archive, isChart }
}

function damaged({ digest }: StoredPackage, what: string): AppError {
  return new AppError('FetchFailed', `the package ${digest.slice(0, 12)} ${what}`)
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
