// The schemas of the kinds that each version of Kubernetes has built in, as its API server publishes them.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { SchemaVersion } from '@fairlead/shared/kubernetes-versions'

/** A JSON Schema, or a part of one. */
export type JsonSchema = { [keyword: string]: unknown }

/** What one version of Kubernetes has built in. */
export interface KubernetesSchemas {
  /** As released, such as 1.36.3. */
  readonly version: string
  /** By the names that `$ref`s give, `#/definitions/<name>`. */
  readonly definitions: Readonly<Record<string, JsonSchema>>
  /** Names of definitions by `<apiVersion>/<kind>`. */
  readonly kinds: ReadonlyMap<string, string>
}

/** Reads the schemas of a version: about 20 ms. */
export function readKubernetesSchemas(version: SchemaVersion): KubernetesSchemas {
  const bytes = readFileSync(new URL(`./data/${version}.json.gz`, import.meta.url))
  const { version: released, definitions } = JSON.parse(gunzipSync(bytes).toString('utf8')) as {
    readonly version: string
    readonly definitions: Readonly<Record<string, JsonSchema>>
  }
  const kinds = new Map<string, string>()
  for (const [name, schema] of Object.entries(definitions)) {
    const listed = (schema['x-kubernetes-group-version-kind'] ?? []) as readonly Record<string, string>[]
    // Options of requests are listed for every group that has requests; they are no objects.
    if (listed.length !== 1) continue
    for (const { group, version: apiVersion, kind } of listed) {
      kinds.set(`${group === '' ? '' : `${group}/`}${apiVersion}/${kind}`, name)
    }
  }
  return { version: released, definitions, kinds }
}
