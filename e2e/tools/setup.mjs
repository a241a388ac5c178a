// Installs the pinned npm packages (Node 24 among them) when the lockfile has changed since the last time.
// Plain JavaScript for whatever Node 20 or newer is on the machine: nothing is installed before it runs.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const marker = path.join(root, 'node_modules', '.fairlead-lock')
const lock = createHash('sha256')
  .update(readFileSync(path.join(root, 'package-lock.json')))
  .digest('hex')

if (!existsSync(marker) || readFileSync(marker, 'utf8') !== lock) {
  console.error('setup: installing npm packages (Node 24 among them)')
  const { status, error } = spawnSync('npm', ['ci'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) {
    console.error(`setup: npm ci failed${error ? `: ${error.message}` : ''}`)
    process.exit(status ?? 1)
  }
  writeFileSync(marker, lock)
}
