// What the paths on the command line hold: definitions, or manifests of an application.
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { type DefinitionSource, parseDocuments } from '@fairlead/server/definitions/documents'
import type { Finding, ManifestFolder } from '@fairlead/server/validate'
import { AppError } from '@fairlead/shared/errors'

/** What was found. */
export interface Gathered {
  readonly documents: readonly DefinitionSource[]
  readonly folders: readonly ManifestFolder[]
  /** Files that cannot be read as YAML, among definitions. */
  readonly findings: readonly Finding[]
}

const EXTENSIONS = new Set(['.yaml', '.yml', '.json'])

/** Looks into each path. One with any document of ours holds definitions; any other is the folder (or file) of an application. Throws InvalidArgument for a path that is not there. */
export async function gather(paths: readonly string[], namespace: string): Promise<Gathered> {
  const documents: DefinitionSource[] = []
  const folders: ManifestFolder[] = []
  const findings: Finding[] = []
  for (const given of paths) {
    const read = await readFiles(given)
    if (!read.some(({ documents: found }) => found.some(isOurs))) folders.push(await folderAt(given, namespace))
    else {
      documents.push(...read.flatMap((file) => file.documents))
      findings.push(...read.flatMap(({ problem }) => (problem ? [problem] : [])))
    }
  }
  return { documents, folders, findings }
}

/** A folder or file as an application would have it. Its working copy is the Git repository that it is in, or itself. */
export async function folderAt(given: string, namespace: string): Promise<ManifestFolder> {
  const whole = path.resolve(given)
  const root = findRepository(whole) ?? (path.extname(whole) === '' ? whole : path.dirname(whole))
  const below = path.relative(root, whole).split(path.sep).join('/')
  const { plainFolder } = await import('@fairlead/server/validate')
  return plainFolder(given, root, below, namespace)
}

function findRepository(whole: string): string | undefined {
  for (let folder = whole; ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, '.git'))) return folder
    if (path.dirname(folder) === folder) return undefined
  }
}

interface ReadFile {
  readonly documents: readonly DefinitionSource[]
  readonly problem?: Finding
}

async function readFiles(given: string): Promise<ReadFile[]> {
  const files = await listFiles(given)
  return await Promise.all(
    files.map(async (file): Promise<ReadFile> => {
      try {
        return { documents: parseDocuments(await readFile(file, 'utf8'), file) }
      } catch (error) {
        if (!(error instanceof AppError)) throw error
        const { context, message } = error
        return { documents: [], problem: { file, ...context, message, code: 'InvalidYaml' } }
      }
    }),
  )
}

/** Hidden files and folders are passed over, as the hub does. */
async function listFiles(given: string): Promise<string[]> {
  const found = await stat(given).catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'ENOENT' ? 'no such file or folder' : cause.message
    throw new AppError('InvalidArgument', `cannot read ${given}: ${reason}`, { cause })
  })
  if (!found.isDirectory()) return [given]
  const entries = await readdir(given, { recursive: true, withFileTypes: true })
  const isHidden = (folder: string): boolean =>
    path
      .relative(given, folder)
      .split(path.sep)
      .some((part) => part.startsWith('.') && part !== '..')
  return entries
    .filter((entry) => entry.isFile() && EXTENSIONS.has(path.extname(entry.name)) && !entry.name.startsWith('.'))
    .filter((entry) => !isHidden(entry.parentPath))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
}

function isOurs({ value }: DefinitionSource): boolean {
  return typeof value.apiVersion === 'string' && value.apiVersion.startsWith('fairlead.dev/')
}
