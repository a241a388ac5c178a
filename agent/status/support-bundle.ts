// What helps to find out why an agent does not do what it should, without anything that must stay in the cluster: no
// Secrets, tokens or keys, no values of manifests.
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { InspectedObject } from '../desired-state.ts'
import type { AgentStatus } from './agent-status.ts'
import { createRedactor } from './redact.ts'
import { createTar, type TarFile } from './tar.ts'

/** What a bundle is made of. */
export interface BundleSources {
  readonly status: AgentStatus
  /** The settings; the join token must be left out, and is looked for besides. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Lines of JSON. */
  readonly logLines: readonly string[]
  /** The exposition. */
  readonly metrics: string
  /** Names and hashes of everything that is owned. */
  readonly objects: readonly InspectedObject[]
  /** Secrets that this process knows, to be taken out wherever they may have got to. */
  readonly secrets: readonly (string | undefined)[]
}

const README = `Made by "fairlead agent support-bundle".

status.json         applications, problems, drift, slice, connection, watches
settings.json       the agent's settings, without the join token
log.jsonl           the last lines of its log
metrics.txt         its metrics
inventories.jsonl   names, uids and hashes of what it owns
versions.json       agent, Node.js, API server

Left out: Secrets, tokens, keys, certificates, and whatever an API server or a webhook quoted of an object.
Names of namespaces, objects, applications, field managers and hosts are in it: look at it before you hand it on.
`

/** The bundle as a gzipped tar archive. */
export async function createSupportBundle(sources: BundleSources, now: Date): Promise<Buffer> {
  const { status, settings, logLines, metrics, objects, secrets } = sources
  const redact = createRedactor(secrets)
  const json = (value: unknown): string => `${JSON.stringify(redact(value), undefined, 2)}\n`
  const { version, kubernetesVersion, apiServer } = status
  const folder = `fairlead-agent-${now.toISOString().slice(0, 19).replaceAll(':', '-')}`
  const files: TarFile[] = [
    { name: 'README.txt', content: README },
    { name: 'status.json', content: json(status) },
    { name: 'settings.json', content: json(settings) },
    { name: 'log.jsonl', content: logLines.map((line) => `${redactLine(line, redact)}\n`).join('') },
    { name: 'metrics.txt', content: metrics },
    { name: 'inventories.jsonl', content: objects.map((object) => `${JSON.stringify(object)}\n`).join('') },
    {
      name: 'versions.json',
      content: json({
        agent: version,
        node: process.version,
        kubernetes: kubernetesVersion,
        apiServer,
        arch: process.arch,
      }),
    },
  ]
  return await promisify(gzip)(
    createTar(
      files.map((file) => ({ ...file, name: `${folder}/${file.name}` })),
      now,
    ),
  )
}

function redactLine(line: string, redact: <T>(value: T) => T): string {
  try {
    return JSON.stringify(redact(JSON.parse(line)))
  } catch {
    return JSON.stringify(redact(line))
  }
}
