// Reads what `-f` names: files, folders and standard input.
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { type DefinitionSource, parseDocuments } from '@fairlead/server/definitions/documents'
import { AppError } from '@fairlead/shared/errors'

/** Where definitions come from. */
export interface ReadOptions {
  /** Look into the folders of folders, default false. */
  readonly recursive: boolean
  /** Read for `-`. */
  readonly stdin: NodeJS.ReadableStream
}

const EXTENSIONS = new Set(['.yaml', '.yml', '.json'])

/**
 * All documents of the given files, folders (their .yaml, .yml and .json files, by name) and `-`, in the order given.
 * Throws InvalidArgument when one cannot be read, is not valid YAML, or when there is no document at all.
 */
export async function readDefinitions(names: readonly string[], options: ReadOptions): Promise<DefinitionSource[]> {
  const documents: DefinitionSource[] = []
  for (const name of names) {
    if (name === '-') {
      documents.push(...parseDocuments(await text(options.stdin), '-'))
      continue
    }
    for (const file of await listFiles(name, options.recursive)) {
      documents.push(...parseDocuments(await read(file), file))
    }
  }
  if (documents.length === 0) {
    const where = names.join(', ')
    throw new AppError(
      'InvalidArgument',
      `${where} holds no document${options.recursive ? '' : '; look deeper by --recursive'}`,
    )
  }
  return documents
}

async function read(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: unknown) => {
    throw unreadable(file, error)
  })
}

async function listFiles(name: string, recursive: boolean): Promise<string[]> {
  const found = await stat(name).catch((error: unknown) => {
    throw unreadable(name, error)
  })
  if (!found.isDirectory()) return [name]
  const entries = await readdir(name, { recursive, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && EXTENSIONS.has(path.extname(entry.name)))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort()
}

function unreadable(file: string, cause: unknown): AppError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
  const reason = missing ? 'no such file or folder' : (cause as Error).message
  return new AppError('InvalidArgument', `cannot read ${file}: ${reason}`, { cause })
}
