// What must be looked at once a day: the audit trail does not grow for ever, and no certificate expires unnoticed.
import { X509Certificate } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { sleep } from '@fairlead/shared/backoff'
import type { Logger } from '@fairlead/shared/logger'
import type { Store } from './store/store.ts'

const DAY_MS = 86_400_000
/** How long audit rows are kept, in milliseconds. */
const AUDIT_KEPT_MS = 90 * DAY_MS
/** A certificate with less left is warned of; a start of the hub would have renewed it long before. */
const WARN_WITHIN_MS = 90 * DAY_MS
/** Bounds how long one statement keeps the database. */
const ROWS_PER_STATEMENT = 5_000

/** What is kept in order. */
export interface HousekeepingOptions {
  readonly store: Store
  /** PEM of the server's certificate. */
  readonly certificate: string
  readonly logger: Logger
}

/** Does it now and once a day. Returns a function that ends it. */
export function startHousekeeping(options: HousekeepingOptions): () => Promise<void> {
  const stopping = new AbortController()
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await keepHouse(options, Date.now()).catch((error: unknown) =>
        options.logger.error({ error }, 'housekeeping failed; trying again tomorrow'),
      )
      await sleep(DAY_MS, stopping.signal).catch(() => {})
    }
  }
  const running = run()
  return async () => {
    stopping.abort()
    await running
  }
}

/** Forgets audit rows of more than 90 days ago and warns of a certificate that ends within 90 days. */
export async function keepHouse({ store, certificate, logger }: HousekeepingOptions, nowMs: number): Promise<void> {
  const { validTo } = new X509Certificate(certificate)
  if (Date.parse(validTo) - nowMs < WARN_WITHIN_MS) {
    logger.warn({ expiresAt: new Date(validTo).toISOString() }, 'server certificate ends soon: restart the hub')
  }
  let deleted = 0
  for (let count = ROWS_PER_STATEMENT; count === ROWS_PER_STATEMENT; deleted += count) {
    count = await deleteAudit(store, nowMs - AUDIT_KEPT_MS)
    await nextTurn()
  }
  if (deleted > 0) logger.info({ rows: deleted }, 'old audit rows deleted')
}

async function deleteAudit(store: Store, beforeMs: number): Promise<number> {
  const { numDeletedRows } = await store.db
    .deleteFrom('audit')
    .where('id', 'in', (query) =>
      query.selectFrom('audit').select('id').where('at', '<', beforeMs).orderBy('id').limit(ROWS_PER_STATEMENT),
    )
    .executeTakeFirstOrThrow()
  return Number(numDeletedRows)
}
