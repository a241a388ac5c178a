// Writes data/<version>.json.gz out of the OpenAPI document that a version of Kubernetes publishes: what is needed to check
// manifests, without the words. Run where that version's Go module is to be had: node hub/server/schemas/write.ts 1.36.3 ...
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'

type Node = Readonly<Record<string, unknown>>

const DROPPED = new Set(['description', 'default'])

/** A schema without what only people read. */
function stripSchema(schema: Node): Node {
  const kept = Object.entries(schema).filter(
    ([keyword]) =>
      !DROPPED.has(keyword) && (!keyword.startsWith('x-kubernetes-') || keyword === 'x-kubernetes-group-version-kind'),
  )
  return Object.fromEntries(kept.map(([keyword, value]) => [keyword, stripKeyword(keyword, value)]))
}

function stripKeyword(keyword: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  if (keyword !== 'properties') return stripSchema(value as Node)
  return stripNamed(value as Node)
}

/** Properties and definitions may be called as keywords are. */
function stripNamed(schemas: Node): Node {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, stripSchema(schema as Node)]))
}

for (const version of process.argv.slice(2)) {
  const module = `k8s.io/kubernetes@v${version}`
  const { Dir } = JSON.parse(execFileSync('go', ['mod', 'download', '-json', module], { encoding: 'utf8' })) as Node
  const file = path.join(String(Dir), 'api/openapi-spec/swagger.json')
  const { definitions } = JSON.parse(readFileSync(file, 'utf8')) as Node
  const text = JSON.stringify({ version, definitions: stripNamed(definitions as Node) })
  const minor = version.split('.').slice(0, 2).join('.')
  writeFileSync(path.join(import.meta.dirname, 'data', `${minor}.json.gz`), gzipSync(text, { level: 9 }))
  console.log(`${minor}: ${module}`)
}
