// Tries definitions and manifests before they are committed, offline: the same reading, rules and rendering as the hub's,
// and the schemas of chosen versions of Kubernetes.
import { create, fromBinary } from '@bufbuild/protobuf'
import type { RenderedManifest } from '@fairlead/proto/applications'
import { SourceLocationSchema } from '@fairlead/proto/common'
import type { ApplicationSpec, DefinitionDocument } from '@fairlead/proto/definitions'
import { ArtifactSchema } from '@fairlead/proto/slice'
import { AppError, type ErrorCode, toAppError } from '@fairlead/shared/errors'
import { parseExactJson } from '@fairlead/shared/exact-json'
import type { ErrorDetail } from '@fairlead/shared/grpc-status'
import type { SchemaVersion } from '@fairlead/shared/kubernetes-versions'
import { silentLogger } from '@fairlead/shared/logger'
import { formatObjectReference, type KubernetesObject } from '@fairlead/shared/object-reference'
import { isEncrypted } from '@fairlead/shared/sops'
import { otherSourcesOf } from './application-sources.ts'
import type { Capabilities } from './capabilities.ts'
import { type ClusterFacts, putInVariables } from './cluster-manifests.ts'
import { checkDefinitions } from './definitions/check-definitions.ts'
import { type Definition, readDocument } from './definitions/document.ts'
import type { TreeReader } from './render-inputs.ts'
import { type RenderTarget, readAndRender } from './render-stage.ts'
import { createRenderer, type Renderer } from './renderer/renderer.ts'
import { SchemaChecker } from './schemas/schema-checker.ts'
import { DISK_COMMIT, DiskSource } from './tracker/disk-source.ts'
import { readSourceTree } from './tracker/source-reader.ts'
import { BASE_VARIANT, findOverrides, type Variant, variantWith } from './variants.ts'
import { targetAt } from './whole-commits.ts'

/** A folder of manifests on disk, as an application would have it. */
export interface ManifestFolder {
  /** For messages: the application, or the folder as it was given. */
  readonly name: string
  /** The working copy: nothing outside it is read. */
  readonly root: string
  /** What of it is rendered, and how. */
  readonly target: RenderTarget
  /** Where the files of other Repositories are on disk; default nowhere. */
  readonly workingCopies?: ReadonlyMap<string, string>
}

/** A folder or file of a working copy as an application of defaults, named after it, would have it. `path` is from the root, empty for the root itself. */
export function plainFolder(name: string, root: string, path: string, namespace: string): ManifestFolder {
  // A chart's release has the application's name.
  const last = `${root}/${path}`.split('/').findLast((part) => part !== '') ?? ''
  const application =
    last
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 53) || 'application'
  return {
    name,
    root,
    target: { application, variant: '', repository: '', ref: '', commit: DISK_COMMIT, path, namespace },
  }
}

/** What is to be tried. */
export interface ValidateRequest {
  readonly documents: readonly DefinitionDocument[]
  readonly folders: readonly ManifestFolder[]
  /** Where the files of a Repository are on disk: its applications' folders are tried too. */
  readonly workingCopies: ReadonlyMap<string, string>
  /** Versions of Kubernetes; empty: no schemas. */
  readonly versions: readonly SchemaVersion[]
  /** Folders with CustomResourceDefinitions beside those that the folders themselves hold. */
  readonly crds: readonly ManifestFolder[]
}

/** Something wrong. */
export interface Finding extends ErrorDetail {
  /** A code of docs/reference/errors.md. */
  readonly code: ErrorCode
  /** The working copy that `file` counts from; absent where `file` is as it was given. */
  readonly root?: string
  /** The application or folder that it was found in. */
  readonly application?: string
  /** Versions of Kubernetes whose schema says so; absent when none is concerned. */
  readonly versions?: readonly SchemaVersion[]
}

/** An object that no schema was there for. */
export interface Unchecked {
  readonly object: string
  readonly application: string
  readonly reason: string
}

/** What came of it. */
export interface ValidateResult {
  readonly findings: readonly Finding[]
  readonly unchecked: readonly Unchecked[]
  readonly definitions: number
  /** Folders that were rendered. */
  readonly folders: number
  readonly objects: number
}

interface Rendered {
  readonly folder: ManifestFolder
  readonly manifests: readonly { readonly object: KubernetesObject; readonly file: string; readonly line: number }[]
  readonly findings: readonly Finding[]
}

/** Tries everything; what is wrong with what people wrote is a finding, never a rejection. Rejects with Aborted when the signal aborts. */
export async function validate(request: ValidateRequest, signal: AbortSignal): Promise<ValidateResult> {
  const { workingCopies } = request
  const documents = request.documents.map(readDocument)
  const repositories = new Set(workingCopies.keys())
  const { definitions, problems } = checkDefinitions(documents, { repositories, applications: new Map() })
  const folders = [...request.folders, ...definitions.flatMap((definition) => folderOf(definition, workingCopies))]
  const renderer = createRenderer({ logger: silentLogger })
  try {
    const rendered = await renderAll(renderer, folders, signal)
    const crds = await renderAll(renderer, request.crds, signal)
    const checked = checkSchemas(rendered, crds, request.versions)
    return {
      findings: [
        ...problems.map((problem): Finding => ({ ...problem, code: 'InvalidArgument' })),
        ...[...rendered, ...crds].flatMap(({ findings }) => findings),
        ...checked.findings,
      ],
      unchecked: checked.unchecked,
      definitions: definitions.length,
      folders: rendered.length,
      objects: rendered.reduce((sum, { manifests }) => sum + manifests.length, 0),
    }
  } finally {
    await renderer.stop()
  }
}

/** The folder of an application whose repository is on disk. */
function folderOf(definition: Definition, workingCopies: ReadonlyMap<string, string>): ManifestFolder[] {
  if (definition.kind !== 'Application') return []
  const { name, spec } = definition
  const root = workingCopies.get(spec.source?.repository ?? '')
  if (root === undefined) return []
  const others = otherSourcesOf(spec)
    .filter(({ repository }) => workingCopies.has(repository))
    .map((other) => ({ ...other, commit: DISK_COMMIT }))
  const targetOf = (variant: Variant) => targetAt(name, spec, { commit: DISK_COMMIT, others, variant })
  const base = { name, root, workingCopies, target: targetOf(BASE_VARIANT) }
  // Which of them count together depends on the clusters: each is tried by itself.
  const overridden = spec.overrides.map((_override, index) => ({
    ...base,
    name: `${name} (overrides[${index}])`,
    target: targetOf(variantWith(spec, [index])),
  }))
  return [base, ...overridden]
}

async function renderAll(
  renderer: Renderer,
  folders: readonly ManifestFolder[],
  signal: AbortSignal,
): Promise<Rendered[]> {
  const rendered: Rendered[] = []
  for (const folder of folders) rendered.push(await renderFolder(renderer, folder, signal))
  return rendered
}

/** What an application gives on a cluster out of a working copy, as the hub would render it. What is wrong is among the problems. Rejects with Aborted. */
export async function renderWorkingCopy(
  { name, spec, root, cluster, capabilities }: WorkingCopy,
  signal: AbortSignal,
): Promise<{ readonly manifests: readonly RenderedManifest[]; readonly problems: readonly string[] }> {
  const variant = variantWith(spec, findOverrides(spec, { id: '', ...cluster }))
  const renderer = createRenderer({ logger: silentLogger })
  try {
    const target = { ...targetAt(name, spec, { commit: DISK_COMMIT, variant }), ...(capabilities && { capabilities }) }
    const rendered = await renderFolder(renderer, { name, root, target }, signal)
    const manifests = rendered.manifests.map(({ object, file, line }) => ({
      json: Buffer.from(JSON.stringify(object)),
      source: create(SourceLocationSchema, { file, line }),
    }))
    const made = putInVariables(manifests, spec, cluster)
    const told = rendered.findings.map(
      ({ code, message, file, line }) => `${file}${line ? `:${line}` : ''}: ${code}: ${message}`,
    )
    return { manifests: made.manifests, problems: [...told, ...made.faults.map(({ message }) => message)] }
  } finally {
    await renderer.stop()
  }
}

/** An application whose repository is on disk, and a cluster that runs it. */
export interface WorkingCopy {
  readonly name: string
  readonly spec: ApplicationSpec
  /** Root of the repository's files. */
  readonly root: string
  readonly cluster: ClusterFacts
  /** What the cluster reports, where the application is rendered for that. */
  readonly capabilities?: Capabilities | undefined
}

async function renderFolder(renderer: Renderer, folder: ManifestFolder, signal: AbortSignal): Promise<Rendered> {
  const { name: application, root, target, workingCopies } = folder
  const rootOf = (repository: string): string =>
    repository === target.repository ? root : (workingCopies?.get(repository) ?? root)
  const readTree: TreeReader['readTree'] = async (repository, commit, path) =>
    await Promise.resolve(readSourceTree(new DiskSource(rootOf(repository)), commit, path))
  const findChart: TreeReader['findChart'] = ({ address }) =>
    Promise.reject(
      new AppError('NotFound', `nothing is fetched from ${address} here; run \`helm dependency build\` before`),
    )
  const findBase: TreeReader['findBase'] = ({ address }) =>
    Promise.reject(new AppError('NotFound', `nothing is fetched from ${address} here`))
  try {
    const { rendered } = await readAndRender({ trees: { readTree, findChart, findBase }, renderer }, target, signal)
    const { content, problems } = rendered
    const findings = problems.map(({ code, message, object, source }): Finding => {
      const place = { file: source?.file ?? '', ...(source?.line ? { line: source.line } : {}) }
      const subject = object ? { object: formatObjectReference(object) } : {}
      return { code: code as ErrorCode, message, application, root, ...place, ...subject }
    })
    const manifests = fromBinary(ArtifactSchema, content).manifests.map(({ json, source }) => ({
      object: parseExactJson(Buffer.from(json).toString('utf8')) as KubernetesObject,
      file: source?.file ?? '',
      line: source?.line ?? 0,
    }))
    return { folder, manifests, findings }
  } catch (thrown) {
    signal.throwIfAborted()
    const { code, message, context } = toAppError(thrown)
    return { folder, manifests: [], findings: [{ file: target.path, ...context, code, message, application, root }] }
  }
}

function checkSchemas(
  rendered: readonly Rendered[],
  crds: readonly Rendered[],
  versions: readonly SchemaVersion[],
): { findings: Finding[]; unchecked: Unchecked[] } {
  const objects = [...rendered, ...crds].flatMap(({ manifests }) => manifests.map(({ object }) => object))
  const checkers = versions.map((version) => new SchemaChecker(version, objects))
  const findings = new Map<string, Finding & { readonly versions: SchemaVersion[] }>()
  const unchecked: Unchecked[] = []
  for (const { folder, manifests } of rendered) {
    for (const { object, file, line } of manifests) {
      const subject = { object: describe(object), application: folder.name }
      if (isEncrypted(object)) {
        unchecked.push({ ...subject, reason: 'it is encrypted' })
        continue
      }
      for (const checker of checkers) {
        const outcome = checker.check(object)
        if (outcome.kind === 'unchecked') {
          // The same for every version, as a rule.
          if (unchecked.at(-1)?.object !== subject.object) unchecked.push({ ...subject, reason: outcome.reason })
          continue
        }
        for (const { field, message } of outcome.problems) {
          const key = JSON.stringify([folder.name, file, line, subject.object, field, message])
          const known = findings.get(key)
          if (known) known.versions.push(checker.version)
          else {
            const place = { file, ...(line > 0 ? { line } : {}), root: folder.root }
            findings.set(key, {
              code: 'ApplyInvalid',
              ...subject,
              ...place,
              field,
              message,
              versions: [checker.version],
            })
          }
        }
      }
    }
  }
  return { findings: [...findings.values()], unchecked }
}

function describe({ apiVersion, kind, metadata }: KubernetesObject): string {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
  return formatObjectReference({ group, kind, namespace: metadata.namespace ?? '', name: metadata.name })
}
