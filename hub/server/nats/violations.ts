// Tells of agents that try what their permissions do not allow. Only the server knows, so its log is read: a hostile agent
// chooses its client name and the subjects, which are quoted there, but not the key it signed in with.
import { open, stat } from 'node:fs/promises'
import { sleep } from '@fairlead/shared/backoff'
import type { Logger } from '@fairlead/shared/logger'

/** What is watched. */
export interface ViolationOptions {
  /** Log of the embedded nats-server. */
  readonly logFile: string
  /** The cluster whose agent holds this user key. */
  readonly findCluster: (publicKey: string) => Promise<{ readonly id: string; readonly name: string } | undefined>
  readonly logger: Logger
  /** How often it is read, in milliseconds, default a minute: one line of log for each cluster. */
  readonly everyMs?: number
}

/** What one agent was refused. */
interface Refused {
  count: number
  /** The last subject, as the server quotes it. */
  subject: string
}

const QUOTED = String.raw`"(?:[^"\\]|\\.)*"`
const VIOLATION = new RegExp(
  String.raw`\[ERR\] \S+ - [a-z_]+:\d+ - ${QUOTED} - "[^"\\]*\b(U[A-Z2-7]{55})" - (?:Publish|Subscription) Violation - .*?(${QUOTED})`,
)
const MAX_SUBJECT_LENGTH = 200

/** Begins with what is written from now on. Returns a function that ends it. */
export function watchViolations(options: ViolationOptions): () => Promise<void> {
  const stopping = new AbortController()
  const { signal } = stopping
  const run = async (): Promise<void> => {
    let position = await sizeOf(options.logFile)
    while (!signal.aborted) {
      await sleep(options.everyMs ?? 60_000, signal).catch(() => {})
      try {
        position = await readFrom(options, position)
      } catch (error) {
        options.logger.warn({ error, file: options.logFile }, 'log of nats-server cannot be read')
      }
    }
  }
  const running = run()
  return async () => {
    stopping.abort()
    await running
  }
}

/** The key and the subject of a line of nats-server's log that tells of a violation; undefined for other lines. */
export function parseViolation(line: string): { publicKey: string; subject: string } | undefined {
  // Most lines are of other things.
  const [, publicKey, subject] = (line.includes(' Violation - ') && VIOLATION.exec(line)) || []
  return publicKey === undefined || subject === undefined
    ? undefined
    : { publicKey, subject: subject.slice(1, -1).slice(0, MAX_SUBJECT_LENGTH) }
}

/** Tells of what was written since `position`, and returns where to go on. */
async function readFrom({ logFile, findCluster, logger }: ViolationOptions, position: number): Promise<number> {
  const size = await sizeOf(logFile)
  // It is shorter when the server has begun a new one.
  const start = size < position ? 0 : position
  if (size === start) return start
  const refused = new Map<string, Refused>()
  // Opened first: the server may rename it at any time, and a stream that cannot open ends the process.
  const file = await open(logFile)
  for await (const line of file.readLines({ start, end: size - 1 })) {
    const violation = parseViolation(line)
    if (!violation) continue
    const { count } = refused.get(violation.publicKey) ?? { count: 0 }
    refused.set(violation.publicKey, { count: count + 1, subject: violation.subject })
  }
  for (const [publicKey, { count, subject }] of refused) {
    const cluster = await findCluster(publicKey)
    const who = cluster ? { cluster: cluster.name, clusterId: cluster.id } : { publicKey }
    logger.warn({ ...who, count, subject }, 'an agent tried what its permissions do not allow')
  }
  return size
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
}
