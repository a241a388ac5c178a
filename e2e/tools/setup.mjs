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

function fail(message) {
  console.error(`setup: ${message}`)
  process.exit(1)
}

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(`Node 20 or newer is needed to start with, and this is ${process.version}: https://nodejs.org`)
}
if (!existsSync(marker) || readFileSync(marker, 'utf8') !== lock) {
  console.error('setup: installing npm packages (Node 24 among them)')
  const { status, error } = spawnSync('npm', ['ci'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) fail(`npm ci failed${error ? `: ${error.message}` : ` with exit code ${status}`}`)
  // npm brings Node 24 for Linux (x64, arm64) and macOS (x64); elsewhere it has to be there already.
  if (
    !existsSync(path.join(root, 'node_modules', '.bin', 'node')) &&
    Number(process.versions.node.split('.')[0]) < 24
  ) {
    fail(`npm has no Node 24 for ${process.platform}-${process.arch}: install Node 24 and try again`)
  }
  writeFileSync(marker, lock)
}
