// Which ref of the server an application's ref names. Pure.
import { AppError } from '@fairlead/shared/errors'
import { isObjectId } from './git-object.ts'
import type { RefListing } from './ref-listing.ts'

/** Prefixes to list for the refs that applications ask for. */
export function prefixesFor(refs: readonly string[]): string[] {
  return [...new Set(refs.flatMap(candidatesFor))].sort()
}

/** The commit (or the tag of it) that `ref` names: a branch before a tag; a full commit id names itself; empty is the default branch. Throws RefNotFound. */
export function resolveRef(listing: RefListing, ref: string): string {
  if (isObjectId(ref)) return ref
  const names = ref === '' ? ['HEAD'] : candidatesFor(ref)
  for (const name of names) {
    const oid = listing.refs.get(name)
    if (oid !== undefined) return oid
  }
  if (ref !== '') throw new AppError('RefNotFound', `the repository has no branch or tag ${ref}`)
  const target =
    listing.headTarget === undefined
      ? 'no default branch'
      : `no branch ${listing.headTarget.slice('refs/heads/'.length)}, its default`
  throw new AppError('RefNotFound', `the repository has ${target}`)
}

function candidatesFor(ref: string): string[] {
  if (ref === '' || isObjectId(ref)) return []
  return ref.startsWith('refs/') ? [ref] : [`refs/heads/${ref}`, `refs/tags/${ref}`]
}
