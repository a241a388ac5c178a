// Free loopback ports, below the range that the kernel gives to outgoing connections, claimed by file so that no two
// processes on the machine are given the same one, and none is given twice within a run.

import { closeSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

const firstPort = 20_000
const portCount = 12_000
const claimLastsMs = 60 * 60_000
const claims = path.join(tmpdir(), 'fairlead-ports')

let cursor = Math.floor(Math.random() * portCount)

/** Returns a free port on 127.0.0.1 that nobody else who asks here is given within the hour. */
export async function takePort(): Promise<number> {
  mkdirSync(claims, { recursive: true })
  for (let attempts = 0; attempts < portCount; attempts++) {
    cursor = (cursor + 1) % portCount
    const port = firstPort + cursor
    if (claim(port) && (await isFree(port))) return port
  }
  throw new Error(`no free port between ${firstPort} and ${firstPort + portCount}`)
}

function claim(port: number): boolean {
  const file = path.join(claims, String(port))
  try {
    if (Date.now() - statSync(file).mtimeMs > claimLastsMs) rmSync(file, { force: true })
  } catch {
    // Not claimed yet: the ordinary case.
  }
  try {
    closeSync(openSync(file, 'wx'))
    return true
  } catch {
    return false
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
