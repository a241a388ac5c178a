// Secrets that definitions name as file:<path> or env:<NAME>: read each time they are needed, so that they can be rotated,
// and never logged.
import { readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** What secrets may be read from. */
export interface SecretSources {
  /** Folders that files may be in. */
  readonly folders: readonly string[]
  /** Environment variables by name. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

const MAX_BYTES = 64 * 1024

/** A secret of one line from `file:<path>` or `env:<NAME>`, without blanks around it. Throws RepositoryAuthFailed with a message that says where, never what. */
export function readSecret(from: string, sources: SecretSources): string {
  const content = readSecretText(from, sources).trim()
  // Anything else would end a header, and might begin another.
  if (!/^[\x20-\x7e]+$/.test(content)) throw refused(`${from} holds more than one line or unusual characters`)
  return content
}

/** As readSecret, for files of several lines such as keys. */
export function readSecretText(from: string, { folders, environment }: SecretSources): string {
  const content = from.startsWith('env:') ? readVariable(from, environment) : readSecretFile(from, folders)
  if (content.trim() === '') throw refused(`${from} is empty`)
  return content
}

function readVariable(from: string, environment: SecretSources['environment']): string {
  const name = from.slice('env:'.length)
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined
  if (value === undefined) throw refused(`${from} is not set, or the hub may not use it`)
  return value
}

function readSecretFile(from: string, folders: readonly string[]): string {
  if (!from.startsWith('file:')) throw refused('credentials must come from file:<path> or env:<NAME>')
  try {
    const file = realpathSync(from.slice('file:'.length))
    if (!folders.some((folder) => isInside(file, folder)))
      throw refused(`${from} is in no folder that the hub may read`)
    if (statSync(file).size > MAX_BYTES) throw refused(`${from} is too large`)
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof AppError) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw refused(`${from} cannot be read (${reason})`)
  }
}

function isInside(file: string, folder: string): boolean {
  let real: string
  try {
    real = realpathSync(folder)
  } catch {
    return false
  }
  const relative = path.relative(real, file)
  return relative !== '' && relative.split(path.sep)[0] !== '..' && !path.isAbsolute(relative)
}

function refused(message: string): AppError {
  return new AppError('RepositoryAuthFailed', message)
}
