// Credentials of repositories: read from a file or the environment at each poll, so that they can be rotated, and never logged.
import { readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'

/** What credentials may be read from. */
export interface CredentialSources {
  /** Folders that files may be in. */
  readonly folders: readonly string[]
  /** Environment variables by name. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

const MAX_BYTES = 64 * 1024

/** The Authorization header for credentials `file:<path>` or `env:<NAME>`, whose content is a token or user:password. Throws RepositoryAuthFailed with a message that says where, never what. */
export function readAuthorization(from: string, sources: CredentialSources): string {
  const content = read(from, sources).trim()
  if (content === '') throw refused(`${from} is empty`)
  // Anything else would end the header, and might begin another.
  if (!/^[\x20-\x7e]+$/.test(content)) throw refused(`${from} holds more than one line or unusual characters`)
  // GitHub, GitLab, Gitea and Bitbucket take any token as the password of this user.
  const pair = content.includes(':') ? content : `x-access-token:${content}`
  return `Basic ${Buffer.from(pair).toString('base64')}`
}

function read(from: string, { folders, environment }: CredentialSources): string {
  if (from.startsWith('env:')) {
    const name = from.slice('env:'.length)
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined
    if (value === undefined) throw refused(`${from} is not set, or the hub may not use it`)
    return value
  }
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
