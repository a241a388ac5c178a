// Refs such as `semver:^1.2`: the newest of the tags that are versions within a range (semver.org, and the ranges of
// npm's package semver). Pure.
import { AppError } from '@fairlead/shared/errors'
import { compareBuild, parse, Range } from 'semver'

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

/** Full name of the tag with the newest version of the range, out of the full names of refs; a leading `v` counts for nothing. Throws RefNotFound that names the newest tags. */
export function newestTag({ ref, range }: VersionRange, refs: Iterable<string>): string {
  const tags = [...refs].flatMap((name) => {
    const version = name.startsWith(TAGS) ? parse(name.slice(TAGS.length)) : null
    return version === null ? [] : [{ name, version }]
  })
  tags.sort((a, b) => compareBuild(b.version, a.version) || (a.name < b.name ? -1 : 1))
  const newest = tags.find(({ version }) => range.test(version))
  if (newest) return newest.name
  const shown = tags.slice(0, SHOWN_TAGS).map(({ name }) => name.slice(TAGS.length))
  const known = shown.length === 0 ? 'no tag of the repository is a version' : `the newest are ${shown.join(', ')}`
  throw new AppError('RefNotFound', `no tag is in ${ref}; ${known}`)
}

/** `1.0 - 2.0` and the build in `1.0.0+a-b` are no pre-releases. */
function namesPrerelease(range: string): boolean {
  return /[\dx*]-[\da-z]/i.test(range.replace(/\+[\w.-]+/g, ''))
}
