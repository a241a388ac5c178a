// Builds the named tools (all of them by default) and prints where each is: `node e2e/tools/build.ts [names]`.

import { ensureTools, type ToolName, toolNames } from './tools.ts'

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(toolNames as readonly string[]).includes(name))
if (unknown.length > 0) {
  console.error(`unknown tool ${unknown.join(', ')}; the tools are ${toolNames.join(', ')}`)
  process.exit(2)
}
try {
  const paths = await ensureTools(wanted.length > 0 ? (wanted as ToolName[]) : toolNames)
  for (const [name, file] of Object.entries(paths)) console.log(`${name} ${file}`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
