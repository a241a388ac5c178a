// Lists the folders of a commit that match a pattern, without reading a file.
import { AppError } from '@fairlead/shared/errors'
import { damaged, findCommit, type ObjectSource, readTreeEntries } from './git-object.ts'

/** Most folders that are listed. */
export const LISTED_MAX_FOLDERS = 10_000
/** Most entries of folders that are looked at. */
export const LISTED_MAX_ENTRIES = 200_000

/** The folders that `pattern` matches, sorted; in it "*" stands for any part of one name, a point at its beginning excepted. Links and submodules are none. Throws FetchFailed when the commit is not there or damaged, LimitExceeded. */
export function listFolders(source: ObjectSource, commit: string, pattern: string): string[] {
  const found = findCommit(source, commit)
  if (found === undefined) throw damaged(`commit ${commit} is missing`)
  let level = [{ path: '', oid: found.tree }]
  let looked = 0
  for (const part of pattern.split('/').filter((each) => each !== '' && each !== '.')) {
    const matches = matcherOf(part)
    level = level.flatMap(({ path, oid }) => {
      const entries = readTreeEntries(source, oid)
      looked += entries.length
      if (looked > LISTED_MAX_ENTRIES) throw tooMany(`looks through more than ${LISTED_MAX_ENTRIES} entries`, pattern)
      return entries
        .filter(({ mode, name }) => mode === '40000' && matches(name))
        .map((entry) => ({ path: path === '' ? entry.name : `${path}/${entry.name}`, oid: entry.oid }))
    })
    if (level.length > LISTED_MAX_FOLDERS) throw tooMany(`matches more than ${LISTED_MAX_FOLDERS} folders`, pattern)
  }
  return level.map(({ path }) => path).sort()
}

function matcherOf(part: string): (name: string) => boolean {
  if (!part.includes('*')) return (name) => name === part
  const pieces = part.split('*')
  return (name) => {
    if (name.startsWith('.') && !part.startsWith('.')) return false
    const [first = '', last = ''] = [pieces[0], pieces.at(-1)]
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false
    // What lies between, from left to right: no expression that a hostile name could make slow.
    let rest = name.slice(first.length, name.length - last.length)
    return pieces.slice(1, -1).every((piece) => {
      const at = rest.indexOf(piece)
      rest = rest.slice(at + piece.length)
      return at >= 0
    })
  }
}

function tooMany(what: string, pattern: string): AppError {
  return new AppError('LimitExceeded', `${pattern} ${what}`, { context: { file: pattern } })
}
