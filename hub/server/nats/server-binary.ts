// Finds the nats-server binary and refuses versions that are not safe to expose.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { AppError } from '@fairlead/shared/errors'

/** Oldest version that is used: earlier ones have known flaws in WebSocket and JetStream (CVE-2026-27571 and others). */
export const OLDEST_VERSION = '2.14.0'

/** Throws FailedPrecondition, with what to do, unless `binary` (a path, or a name on the PATH) is a nats-server that is new enough. Returns its version. */
export async function checkServerBinary(binary: string): Promise<string> {
  const { stdout } = await promisify(execFile)(binary, ['--version'], { timeout: 10_000 }).catch((cause: unknown) => {
    throw new AppError(
      'FailedPrecondition',
      `${binary} cannot be run: install nats-server ${OLDEST_VERSION} or newer, name it by --nats-server or FAIRLEAD_NATS_SERVER, or use an existing NATS by --nats-url`,
      { cause },
    )
  })
  const version = /nats-server: v(\d+\.\d+\.\d+)/.exec(stdout)?.[1]
  if (version === undefined || compareVersions(version, OLDEST_VERSION) < 0) {
    throw new AppError(
      'FailedPrecondition',
      `${binary} ${version === undefined ? 'is no nats-server' : `is version ${version}`}; the hub needs nats-server ${OLDEST_VERSION} or newer`,
    )
  }
  return version
}

/** Negative, 0 or positive as versions x.y.z compare. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number)
  const right = b.split('.').map(Number)
  for (let index = 0; index < 3; index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
