// Finds the submodules of a commit, and where each is to be fetched from. Pure but for the objects that are read.
import { AppError } from '@fairlead/shared/errors'
import { findSshAddress } from '../ssh-address.ts'
import { damaged, findCommit, type ObjectSource, readTreeEntries } from './git-object.ts'

/** A submodule whose commit is not in the mirror. */
export interface MissingSubmodule {
  /** From the repository's root, with slashes. */
  readonly path: string
  /** Address, made absolute. */
  readonly url: string
  /** Id of the commit. */
  readonly oid: string
}

/** Most submodules of a commit, those of submodules included. */
export const MAX_SUBMODULES = 50
const MAX_DEPTH = 5
const MAX_ENTRIES = 200_000
const MAX_FILE_BYTES = 65_536

/** The submodules of a commit that are not here yet; those within them show when they are. Throws LimitExceeded, InvalidManifest when .gitmodules says nothing of one, FetchFailed for damage. */
export function findMissingSubmodules(source: ObjectSource, commit: string, repositoryUrl: string): MissingSubmodule[] {
  const missing: MissingSubmodule[] = []
  let [entries, submodules] = [0, 0]
  const visit = (oid: string, url: string, prefix: string, depth: number): void => {
    const root = findCommit(source, oid)?.tree
    if (root === undefined) throw damaged(`commit ${oid}`)
    let urls: ReadonlyMap<string, string> | undefined
    const walk = (tree: string, folder: string): void => {
      for (const { mode, name, oid: child } of readTreeEntries(source, tree)) {
        entries++
        if (entries > MAX_ENTRIES)
          throw new AppError(
            'LimitExceeded',
            `the repository has more than ${MAX_ENTRIES} entries; its submodules cannot be looked for`,
          )
        const path = folder === '' ? name : `${folder}/${name}`
        if (mode === '40000') walk(child, path)
        if (mode !== '160000') continue
        submodules++
        if (submodules > MAX_SUBMODULES || depth >= MAX_DEPTH) {
          throw new AppError(
            'LimitExceeded',
            `more than ${MAX_SUBMODULES} submodules, or nested deeper than ${MAX_DEPTH}`,
          )
        }
        urls ??= readUrls(source, root)
        const own = urls.get(path)
        if (own === undefined)
          throw new AppError('InvalidManifest', `.gitmodules says nothing of the submodule ${prefix}${path}`)
        const address = resolveSubmoduleUrl(url, own)
        if (findCommit(source, child) === undefined)
          missing.push({ path: `${prefix}${path}`, url: address, oid: child })
        else visit(child, address, `${prefix}${path}/`, depth + 1)
      }
    }
    walk(root, '')
  }
  visit(commit, repositoryUrl, '', 0)
  return missing
}

/** Addresses that begin with ./ or ../ are relative to the repository's own (git-submodule). */
export function resolveSubmoduleUrl(repositoryUrl: string, url: string): string {
  if (!/^\.\.?\//.test(url)) return url
  const colon = findSshAddress(repositoryUrl) && !repositoryUrl.startsWith('ssh://') ? repositoryUrl.indexOf(':') : -1
  const head = colon >= 0 ? repositoryUrl.slice(0, colon + 1) : (/^[a-z]+:\/\/[^/]+\//.exec(repositoryUrl)?.[0] ?? '')
  const parts = repositoryUrl
    .slice(head.length)
    .split('/')
    .filter((part) => part !== '')
  for (const part of url.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '.' && part !== '') parts.push(part)
  }
  return `${head}${parts.join('/')}`
}

/** Addresses by path, out of .gitmodules. */
function readUrls(source: ObjectSource, root: string): ReadonlyMap<string, string> {
  const file = readTreeEntries(source, root).find(({ name, mode }) => name === '.gitmodules' && mode.startsWith('100'))
  const blob = file && source.find(file.oid, MAX_FILE_BYTES)
  return parseGitmodules(blob?.data.toString('utf8') ?? '')
}

/** Addresses by path, out of the text of a .gitmodules file (git-config, "Syntax"); what is not understood is passed over. */
export function parseGitmodules(text: string): ReadonlyMap<string, string> {
  const sections: Map<string, string>[] = []
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*\[/.test(line)) sections.push(new Map())
    const [, key, value] = /^\s*(path|url)\s*=\s*(.*?)\s*$/i.exec(line) ?? []
    if (key !== undefined && value !== undefined) sections.at(-1)?.set(key.toLowerCase(), unquote(value))
  }
  return new Map(
    sections.flatMap((section) => {
      const [path, url] = [section.get('path'), section.get('url')]
      return path === undefined || url === undefined ? [] : [[path.replace(/\/+$/, ''), url] as const]
    }),
  )
}

function unquote(value: string): string {
  const quoted = /^"((?:[^"\\]|\\.)*)"/.exec(value)?.[1]
  return quoted === undefined ? value.replace(/\s*[#;].*$/, '') : quoted.replace(/\\(.)/g, '$1')
}
