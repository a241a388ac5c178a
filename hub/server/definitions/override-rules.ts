// What an Application's overrides must be.
import type {
  ApplicationSpec,
  KustomizeImage,
  KustomizeOverride,
  KustomizePatch,
  KustomizeReplicas,
  Override,
  RenderOptions,
} from '@fairlead/proto/definitions'
import { findChoiceProblems } from './cluster-choice.ts'
import type { FieldProblem } from './document-shape.ts'
import { findValuesProblems } from './render-rules.ts'
import { findPathProblem } from './source-path.ts'

/** Each kind of override of a cluster is a render of its own: many more would be a mistake. */
const MAX_OVERRIDES = 100
const MAX_CHANGES = 200
const MAX_PATCH_LENGTH = 65_536

/** Everything that is wrong with `spec.overrides`. */
export function findOverrideProblems({
  overrides,
  render,
}: Pick<ApplicationSpec, 'overrides' | 'render'>): FieldProblem[] {
  if (overrides.length > MAX_OVERRIDES) return [{ field: 'spec.overrides', message: `are more than ${MAX_OVERRIDES}` }]
  return overrides.flatMap((override, index) => findProblems(`spec.overrides[${index}]`, override, render))
}

function findProblems(field: string, override: Override, render: RenderOptions | undefined): FieldProblem[] {
  const { path, helm, kustomize } = override
  if (path === '' && !helm && !kustomize) return [{ field, message: 'changes nothing: give path, helm or kustomize' }]
  const pathProblem = findPathProblem(path)
  return [
    ...findChoiceProblems(field, override),
    ...(pathProblem === undefined ? [] : [{ field: `${field}.path`, message: pathProblem }]),
    ...findToolProblems(field, override, render),
    ...(helm ? findValuesProblems(`${field}.helm`, helm) : []),
    ...(kustomize ? findKustomizeProblems(`${field}.kustomize`, kustomize) : []),
  ]
}

/** Where the definition says which tool renders, the overrides must be for that. */
function findToolProblems(
  field: string,
  { helm, kustomize }: Override,
  render: RenderOptions | undefined,
): FieldProblem[] {
  const tool = (['plain', 'kustomize', 'helm'] as const).find((each) => render?.[each] !== undefined)
  const message = (given: string): string => `is for ${given}, but spec.render says ${tool}`
  return [
    ...(helm && tool && tool !== 'helm' ? [{ field: `${field}.helm`, message: message('charts') }] : []),
    ...(kustomize && tool && tool !== 'kustomize'
      ? [{ field: `${field}.kustomize`, message: message('Kustomize folders') }]
      : []),
    ...(helm && kustomize
      ? [{ field, message: 'a folder is a chart or a kustomization: give one of helm and kustomize' }]
      : []),
  ]
}

function findKustomizeProblems(field: string, { patches, images, replicas }: KustomizeOverride): FieldProblem[] {
  if (patches.length + images.length + replicas.length > MAX_CHANGES) {
    return [{ field, message: `are more than ${MAX_CHANGES} patches, images and replicas` }]
  }
  const at = (name: string, index: number, message: string | undefined): FieldProblem[] =>
    message === undefined ? [] : [{ field: `${field}.${name}[${index}]`, message }]
  return [
    ...patches.flatMap((patch, index) => at('patches', index, findPatchProblem(patch))),
    ...images.flatMap((image, index) => at('images', index, findImageProblem(image))),
    ...replicas.flatMap((each, index) => at('replicas', index, findReplicasProblem(each))),
  ]
}

function findPatchProblem({ patch }: KustomizePatch): string | undefined {
  if (patch.trim() === '') return 'patch is missing: the patch as YAML or JSON'
  return patch.length > MAX_PATCH_LENGTH ? `patch is longer than ${MAX_PATCH_LENGTH} characters` : undefined
}

function findImageProblem({ name, newName, newTag, digest }: KustomizeImage): string | undefined {
  if (name === '') return 'name is missing: the image as the manifests name it, without a tag'
  if (newTag !== '' && digest !== '') return 'give newTag or digest, not both'
  return newName + newTag + digest === '' ? 'changes nothing: give newName, newTag or digest' : undefined
}

function findReplicasProblem({ name, count }: KustomizeReplicas): string | undefined {
  if (name === '') return 'name is missing: the name of the workload'
  return count < 0 ? 'count is less than 0' : undefined
}
