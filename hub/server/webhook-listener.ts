// Starts the listener for webhooks as the settings say, and has it take a renewed certificate.
import { readFile } from 'node:fs/promises'
import { AppError } from '@fairlead/shared/errors'
import type { Lifecycle } from '@fairlead/shared/lifecycle'
import type { Logger } from '@fairlead/shared/logger'
import { type HubConfig, splitAddress, type WebhookTls } from './config.ts'
import type { Pki } from './pki/pki.ts'
import type { SecretSources } from './secret-source.ts'
import { readRepositorySpec } from './store/definition-rows.ts'
import type { Store } from './store/store.ts'
import type { Tracker } from './tracker/tracker.ts'
import type { HookedRepository } from './webhooks/hook-index.ts'
import { createWebhooks, type Webhooks } from './webhooks/webhooks.ts'

/** What the listener works with. */
export interface WebhookListenerParts {
  readonly store: Store
  readonly pki: Pki
  readonly tracker: Tracker
  /** What secrets of webhooks may name. */
  readonly secrets: SecretSources
  readonly logger: Logger
}

interface KeyPair {
  readonly key: string
  readonly cert: string
}

/** Certificate files are read this often, in milliseconds, for they are renewed while the hub runs. */
const REREAD_MS = 60_000

/** Starts listening; undefined when the settings do not ask for it. Rejects with FailedPrecondition when it cannot. */
export async function startWebhookListener(
  config: HubConfig,
  { store, pki, tracker, secrets, logger }: WebhookListenerParts,
  lifecycle: Lifecycle,
): Promise<Webhooks | undefined> {
  const { webhookListen, webhookTls } = config
  if (webhookListen === undefined) return undefined
  const { host, port } = splitAddress(webhookListen)
  const tls = await readTls(webhookTls, pki)
  const webhooks = createWebhooks({
    host: host.replace(/^\[|\]$/g, ''),
    port,
    tls,
    readRepositories: () => readHookedRepositories(store),
    secrets,
    onPush: (repository, pushed) => tracker.hint(repository, pushed),
    logger,
  })
  await webhooks.start()
  lifecycle.add('webhooks', () => webhooks.stop())
  if (tls)
    lifecycle.add(
      'certificate of the webhooks',
      keepTls(webhooks, () => readTls(webhookTls, pki), tls, logger),
    )
  return webhooks
}

async function readHookedRepositories(store: Store): Promise<HookedRepository[]> {
  const rows = await store.db.selectFrom('repositories').select(['name', 'spec']).execute()
  return rows.flatMap(({ name, spec: json }) => {
    const { url, webhook } = readRepositorySpec(json)
    return webhook ? [{ name, url, secretFrom: webhook.secretFrom }] : []
  })
}

async function readTls(tls: WebhookTls, pki: Pki): Promise<KeyPair | undefined> {
  if (tls === 'off') return undefined
  if (tls === 'own') return { key: pki.serverKeyPem, cert: pki.serverChainPem }
  try {
    return { key: await readFile(tls.keyFile, 'utf8'), cert: await readFile(tls.certFile, 'utf8') }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AppError('FailedPrecondition', `the certificate of --webhook-tls cannot be read: ${why}`, { cause })
  }
}

/** Returns what ends it. */
function keepTls(
  webhooks: Webhooks,
  read: () => Promise<KeyPair | undefined>,
  first: KeyPair,
  logger: Logger,
): () => void {
  let last = first
  const reread = async (): Promise<void> => {
    const next = await read()
    if (next === undefined || (next.key === last.key && next.cert === last.cert)) return
    webhooks.setTls(next)
    last = next
    logger.info({}, 'certificate of the webhooks renewed')
  }
  const timer = setInterval(() => {
    // Certificate and key are replaced one after the other: the next time both fit.
    reread().catch((error: unknown) => logger.warn({ error }, 'certificate of the webhooks cannot be taken'))
  }, REREAD_MS)
  timer.unref()
  return () => clearInterval(timer)
}
