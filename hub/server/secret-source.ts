// Secrets that definitions name as file:<path>, env:<NAME> or secret:<namespace>/<name>#<key>: read each time they are needed, so that they can be rotated,
// and never logged.
import { readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { AppError } from '@fairlead/shared/errors'
import { type ClusterSecrets, findSecretKey } from './cluster-secrets.ts'

/** What secrets may be read from. */
export interface SecretSources {
  /** Folders that files may be in. */
  readonly folders: readonly string[]
  /** Environment variables by name. */
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Secrets of the hub's own cluster; default none. */
  readonly cluster?: ClusterSecrets | undefined
}

const MAX_BYTES = 64 * 1024

/** A secret of one line from `file:<path>`, `env:<NAME>` or `secret:<namespace>/<name>#<key>`, without blanks around it. Rejects with RepositoryAuthFailed, or as ClusterSecrets.read does, with a message that says where, never what. */
export async function readSecret(from: string, sources: SecretSources): Promise<string> {
  const content = (await readSecretText(from, sources)).trim()
  // Anything else would end a header, and might begin another.
  if (!/^[\x20-\x7e]+$/.test(content)) throw refused(`${from} holds more than one line or unusual characters`)
  return content
}

/** As readSecret, for files of several lines such as keys. */
export async function readSecretText(from: string, sources: SecretSources): Promise<string> {
  const content = await readSource(from, sources)
  if (content.trim() === '') throw refused(`${from} is empty`)
  return content
}

async function readSource(from: string, { folders, environment, cluster }: SecretSources): Promise<string> {
  if (from.startsWith('env:')) return readVariable(from, environment)
  if (!from.startsWith('secret:')) return readSecretFile(from, folders)
  const key = findSecretKey(from)
  if (!key || !cluster) throw refused('the hub reads no Secrets of Kubernetes')
  return await cluster.read(key)
}

function readVariable(from: string, environment: SecretSources['environment']): string {
  const name = from.slice('env:'.length)
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined
  if (value === undefined) throw refused(`${from} is not set, or the hub may not use it`)
  return value
}

function readSecretFile(from: string, folders: readonly string[]): string {
  if (!from.startsWith('file:'))
    throw refused('credentials must come from file:<path>, env:<NAME> or secret:<namespace>/<name>#<key>')
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
