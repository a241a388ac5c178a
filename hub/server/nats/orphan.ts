// A nats-server that a killed hub left behind: found by its pid file, ended only when that process really is this server.
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { sleep } from '@fairlead/shared/backoff'
import type { Logger } from '@fairlead/shared/logger'
import { findFile } from '../secret-file.ts'

const END_TIMEOUT_MS = 5_000
const POLL_MS = 20

/** Ends the process that `pidFile` names, if its command line runs `configFile`; SIGKILL after 5 s. The caller holds the lock of the data directory, so no living hub owns that process. */
export async function endOrphan(pidFile: string, configFile: string, logger: Logger): Promise<void> {
  const pid = Number((await findFile(pidFile))?.trim())
  if (!Number.isSafeInteger(pid) || pid <= 1 || pid === process.pid) return
  if (!(await runs(pid, configFile))) return
  logger.warn({ pid }, 'ending the nats-server that an earlier hub left behind')
  signal(pid, 'SIGTERM')
  const deadline = performance.now() + END_TIMEOUT_MS
  while (await runs(pid, configFile)) {
    if (performance.now() > deadline) signal(pid, 'SIGKILL')
    await sleep(POLL_MS)
  }
}

/** True while that process lives and its command line names the configuration file. */
async function runs(pid: number, configFile: string): Promise<boolean> {
  return (await readCommandLine(pid)).includes(configFile)
}

async function readCommandLine(pid: number): Promise<readonly string[]> {
  try {
    if (process.platform === 'linux') return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')
    const { stdout } = await promisify(execFile)('ps', ['-o', 'args=', '-p', String(pid)])
    return stdout.trim().split(' ')
  } catch {
    return []
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}
