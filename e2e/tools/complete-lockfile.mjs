// Run after `npm install` where the registry is a mirror that holds Linux only: npm then leaves the packages of other
// platforms out of package-lock.json, and `npm ci` refuses that lockfile everywhere ("Missing: @turbo/darwin-64").
// Adds them by version, operating system and processor; npm adds their integrity when it next sees them.

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const file = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../package-lock.json')
const lock = JSON.parse(readFileSync(file, 'utf8'))
const spellings = { windows: 'win32', 64: 'x64', aarch64: 'arm64', armv7: 'arm' }

/** `@biomejs/cli-linux-x64-musl` -> os linux, cpu x64, libc musl. */
function parsePlatform(name) {
  const words = name.replace(/^.*\//, '').replace(/^[a-z]*?-?(?=(android|darwin|linux|win32|windows)-)/, '')
  const [os, cpu, libc] = words.split('-').map((word) => spellings[word] ?? word)
  return { cpu: [cpu], os: [os], ...(libc && { libc: [libc] }) }
}

let added = 0
for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`
    if (lock.packages[key] || !/^\d/.test(version)) continue
    lock.packages[key] = { version, ...parsePlatform(name), ...(entry.dev && { dev: true }), optional: true }
    added++
  }
}
const sorted = Object.entries(lock.packages).sort(([left], [right]) => (left < right ? -1 : 1))
writeFileSync(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, undefined, 2)}\n`)
console.log(`added ${added} packages of other platforms to package-lock.json`)
