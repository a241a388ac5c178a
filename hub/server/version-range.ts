// Refs such as `semver:^1.2`: the newest of the tags that are versions within a range (semver.org, and the ranges of
// npm's package semver). Pure.
import { AppError } from '@fairlead/shared/errors'
import { compareBuild, parse, Range, type SemVer } from 'semver'

const PREFIX = 'semver:'
const TAGS = 'refs/tags/'
const SHOWN_TAGS = 5

/** A range of versions. */
export interface VersionRange {
  /** As the application names it, for example `semver:^1.2`. */
  readonly ref: string
  readonly range: Range
}

/** True for refs that name a range of versions. */
export function isVersionRef(ref: string): boolean {
  return ref.startsWith(PREFIX)
}

/** The range that a ref names; undefined when what follows `semver:` is none. Pre-releases are in it only when it names one. */
export function findVersionRange(ref: string): VersionRange | undefined {
  const text = ref.slice(PREFIX.length).trim()
  if (!isVersionRef(ref) || text === '') return undefined
  try {
    return { ref, range: new Range(text, { includePrerelease: namesPrerelease(text) }) }
  } catch {
    return undefined
  }
}

/** Full names of refs, for example a map or a set by them. */
export type RefNames = Pick<ReadonlySet<string>, 'keys'>

interface VersionTag {
  readonly name: string
  readonly version: SemVer
}

/** By the listing that they come from: a repository may have ten thousands of tags, and applications that follow many ranges of them. */
const parsed = new WeakMap<RefNames, readonly VersionTag[]>()

/** Full name of the tag with the newest version of the range, out of the full names of refs, which do not change any more; a leading `v` counts for nothing. Throws RefNotFound that names the newest tags. */
export function newestTag({ ref, range }: VersionRange, refs: RefNames): string {
  const tags = parsed.get(refs) ?? [...versionTags(refs)]
  parsed.set(refs, tags)
  let newest: VersionTag | undefined
  for (const tag of tags) {
    if ((newest === undefined || isNewer(tag, newest)) && range.test(tag.version)) newest = tag
  }
  if (newest) return newest.name
  const shown = tags
    .toSorted((a, b) => (isNewer(a, b) ? -1 : 1))
    .slice(0, SHOWN_TAGS)
    .map(({ name }) => name.slice(TAGS.length))
  const known = shown.length === 0 ? 'no tag of the repository is a version' : `the newest are ${shown.join(', ')}`
  throw new AppError('RefNotFound', `no tag is in ${ref}; ${known}`)
}

function* versionTags(refs: RefNames): Generator<VersionTag> {
  for (const name of refs.keys()) {
    const version = name.startsWith(TAGS) ? parse(name.slice(TAGS.length)) : null
    if (version !== null) yield { name, version }
  }
}

/** Of equal versions the one whose name comes first counts as the newer one. */
function isNewer(a: VersionTag, b: VersionTag): boolean {
  return (compareBuild(a.version, b.version) || (a.name < b.name ? 1 : -1)) > 0
}

/** `1.0 - 2.0` and the build in `1.0.0+a-b` are no pre-releases. */
function namesPrerelease(range: string): boolean {
  return /[\dx*]-[\da-z]/i.test(range.replace(/\+[\w.-]+/g, ''))
}
