// What an application runs while parts of its newest commit cannot be rendered: the good new objects, and of the last
// good artifact everything that the new one lacks. So a broken file holds up nothing else, and deletes nothing.
import { create } from '@bufbuild/protobuf'
import { type Artifact, ArtifactSchema, type Manifest } from '@fairlead/proto/slice'
import { type KubernetesObject, objectKey, referenceOf } from '@fairlead/shared/object-reference'

/** Joins an incomplete render with the last good artifact: its objects in their order, then those of the last good one that it lacks. `namespace` is the application's. */
export function carryOver(lastGood: Artifact, incomplete: Artifact, namespace: string): Artifact {
  const present = new Set(incomplete.manifests.map((manifest) => keyOf(manifest, namespace)))
  const missing = lastGood.manifests.filter((manifest) => !present.has(keyOf(manifest, namespace)))
  return create(ArtifactSchema, { manifests: [...incomplete.manifests, ...missing] })
}

function keyOf({ json }: Manifest, namespace: string): string {
  // Both artifacts were made by the renderer, which checks this shape.
  const reference = referenceOf(JSON.parse(Buffer.from(json).toString('utf8')) as KubernetesObject)
  return objectKey({ ...reference, namespace: reference.namespace || namespace })
}
