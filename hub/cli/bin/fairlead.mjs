#!/usr/bin/env node
// npx fairlead: npm links only a file that is there before the build.
import { existsSync } from 'node:fs'

const bundle = new URL('../dist/fairlead.js', import.meta.url)
if (existsSync(bundle)) {
  await import(bundle.href)
} else {
  console.error('error: fairlead is not built\nhint: npm run build')
  process.exitCode = 1
}
