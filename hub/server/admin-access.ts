// The administrator's access: a random token, of which the hub keeps only the SHA-256, and a context for the CLI that holds it.
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { sha256Hex } from '@fairlead/shared/digest'
import type { Logger } from '@fairlead/shared/logger'
import { dump, load } from 'js-yaml'
import { findFile, writeSecretFile } from './secret-file.ts'

/** What an access is made from. */
export interface AdminAccessOptions {
  readonly dataDir: string
  /** The CLI's file of contexts. */
  readonly contextPath: string
  /** host:port of the API as this machine reaches it. */
  readonly address: string
  readonly caPem: string
  readonly logger: Logger
}

interface Context {
  readonly name: string
  readonly address: string
  readonly caPem?: string
  readonly token?: string
}

interface ContextFile {
  readonly currentContext?: string
  readonly contexts?: readonly Context[]
}

/**
 * The SHA-256 of the administrator's token in hexadecimal. When there is none yet, the token is made and written into the
 * CLI's contexts (mode 0600); to make another, delete keys/admin-token.sha256 and start the hub again.
 */
export async function keepAdminToken(options: Omit<AdminAccessOptions, 'address'>): Promise<AdminToken> {
  const file = path.join(options.dataDir, 'keys', 'admin-token.sha256')
  const kept = (await findFile(file))?.trim()
  if (kept) return { hash: kept }
  const token = `fla_${randomBytes(32).toString('base64url')}`
  return { hash: sha256Hex(token), token, keep: () => writeSecretFile(file, `${sha256Hex(token)}\n`) }
}

/** A token's hash; of a new token also the token, and what makes it last. */
export interface AdminToken {
  readonly hash: string
  readonly token?: string
  /** Writes the hash; call it once the token is where the administrator finds it. */
  readonly keep?: () => Promise<void>
}

/** Writes the context of this hub, or brings its address up to date. A context of another hub is never touched. Where the file cannot be read or written, as in a container without a home, it becomes context.yaml in the data directory. */
export async function writeAdminContext(options: AdminAccessOptions, admin: AdminToken): Promise<void> {
  try {
    await updateContext(options, admin)
  } catch (error) {
    const contextPath = path.join(options.dataDir, 'context.yaml')
    options.logger.warn({ error, file: options.contextPath, instead: contextPath }, 'context cannot be written there')
    if (admin.token !== undefined) await updateContext({ ...options, contextPath }, admin)
  }
}

async function updateContext(options: AdminAccessOptions, admin: AdminToken): Promise<void> {
  const { contextPath, address, caPem, dataDir, logger } = options
  const file = readContexts(await findFile(contextPath))
  const contexts = [...(file.contexts ?? [])]
  const own = contexts.findIndex((context) => context.caPem === caPem)
  if (admin.token === undefined && (own < 0 || contexts[own]?.address === address)) return
  const name = contexts[own]?.name ?? freeName(contexts, dataDir)
  const token = admin.token ?? contexts[own]?.token
  const context = { ...contexts[own], name, address, caPem, ...(token !== undefined && { token }) }
  if (own < 0) contexts.push(context)
  else contexts[own] = context
  const currentContext = admin.token === undefined ? file.currentContext : name
  await writeSecretFile(contextPath, dump({ ...file, currentContext, contexts }))
  await admin.keep?.()
  logger.info({ context: name, file: contextPath }, 'context for the CLI written')
}

function readContexts(text: string | undefined): ContextFile {
  const value = text === undefined ? undefined : load(text)
  return typeof value === 'object' && value !== null ? (value as ContextFile) : {}
}

/** `default` when no other hub has it, else the data directory's name. */
function freeName(contexts: readonly Context[], dataDir: string): string {
  const names = new Set(contexts.map((context) => context.name))
  const base = names.has('default') ? path.basename(dataDir) : 'default'
  let name = base
  for (let number = 2; names.has(name); number++) name = `${base}-${number}`
  return name
}
