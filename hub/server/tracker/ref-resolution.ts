// Which ref of the server an application's ref names. Pure.
import { AppError } from '@fairlead/shared/errors'
import { findVersionRange, isVersionRef, newestTag } from '../version-range.ts'
import { isObjectId } from './git-object.ts'
import type { ListedTarget, RefListing } from './ref-listing.ts'

/** Prefixes to list for the refs that applications ask for. */
export function prefixesFor(refs: readonly string[]): string[] {
  return [...new Set(refs.flatMap(candidatesFor))].sort()
}

/** What a ref names. */
export interface ResolvedRef extends ListedTarget {
  /** Full name of the branch or tag on the server, for example refs/tags/v1.2.3; empty for a commit id. */
  readonly name: string
}

/** What `ref` names: a branch before a tag; a full commit id names itself; `semver:<range>` the newest tag in it; empty is the default branch. Throws RefNotFound, or InvalidArgument for a ref of packages. */
export function resolveRef(listing: RefListing, ref: string): ResolvedRef {
  if (ref.includes(':') && !isVersionRef(ref)) {
    throw new AppError(
      'InvalidArgument',
      `${ref} is for Helm repositories and OCI artifacts: Git has no charts and no digests`,
    )
  }
  if (isObjectId(ref)) return { oid: ref, commit: ref, name: '' }
  for (const name of namesFor(listing, ref)) {
    const target = listing.refs.get(name)
    if (target !== undefined) return { ...target, name: name === 'HEAD' ? (listing.headTarget ?? name) : name }
  }
  if (ref !== '') throw new AppError('RefNotFound', `the repository has no branch or tag ${ref}`)
  const target =
    listing.headTarget === undefined
      ? 'no default branch'
      : `no branch ${listing.headTarget.slice('refs/heads/'.length)}, its default`
  throw new AppError('RefNotFound', `the repository has ${target}`)
}

function namesFor(listing: RefListing, ref: string): string[] {
  if (ref === '') return ['HEAD']
  if (!isVersionRef(ref)) return candidatesFor(ref)
  const range = findVersionRange(ref)
  if (range === undefined) throw new AppError('InvalidArgument', `${ref} names no range of versions`)
  return [newestTag(range, listing.refs)]
}

function candidatesFor(ref: string): string[] {
  if (ref === '' || isObjectId(ref)) return []
  if (isVersionRef(ref)) return ['refs/tags/']
  return ref.startsWith('refs/') ? [ref] : [`refs/heads/${ref}`, `refs/tags/${ref}`]
}
