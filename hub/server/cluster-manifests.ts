// Objects as one cluster gets them: for people who look. What agents apply, agents make.
import { create } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { type RenderedManifest, RenderedManifestSchema } from '@fairlead/proto/applications'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import type { Manifest } from '@fairlead/proto/slice'
import { substitute, variablesOf } from '@fairlead/shared/cluster-variables'
import { parseExactJson } from '@fairlead/shared/exact-json'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { isEncrypted } from '@fairlead/shared/sops'
import type { Labels } from './label-selector.ts'

/** What variables are made of. */
export interface ClusterFacts {
  readonly name: string
  readonly labels: Labels
  readonly values: Labels
}

/** Objects with their variables put in. */
export interface ClusterManifests {
  readonly manifests: readonly RenderedManifest[]
  /** Names of the variables that they use. */
  readonly used: ReadonlySet<string>
  /** Variables that the cluster does not have. */
  readonly faults: readonly Problem[]
}

/** Puts the cluster's variables into the objects, unless the application says that they are none; what is encrypted is not looked into. */
export function putInVariables(
  manifests: readonly Pick<Manifest, 'json' | 'source'>[],
  { sync }: ApplicationSpec,
  { name, labels, values }: ClusterFacts,
): ClusterManifests {
  const variables = variablesOf({ clusterName: name, clusterLabels: labels, clusterValues: values })
  const used = new Set<string>()
  const faults: Problem[] = []
  const since = timestampFromMs(Date.now())
  const made = manifests.map(({ json, source }) => {
    const text = Buffer.from(json).toString('utf8')
    const object = parseExactJson(text) as KubernetesObject
    const place = source ? { source } : {}
    const isLeft = sync?.substitute === false || isEncrypted(object)
    if (isLeft) return create(RenderedManifestSchema, { json: text, ...place })
    const replaced = substitute(object, { variables })
    for (const each of replaced.used) used.add(each)
    for (const { field, message } of replaced.faults) {
      const told = `${object.kind} ${object.metadata.name}: ${field}: ${message}`
      faults.push(create(ProblemSchema, { code: 'UnknownVariable', message: told, since, ...place }))
    }
    return create(RenderedManifestSchema, { json: JSON.stringify(replaced.object), ...place })
  })
  return { manifests: made, used, faults }
}
