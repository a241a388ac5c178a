// From an artifact to the objects an application declares, each with its kind as the API server serves it.
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Artifact, SyncPolicy } from '@fairlead/proto/slice'
import type { ClusterVariables } from '@fairlead/shared/cluster-variables'
import { AppError, toAppError } from '@fairlead/shared/errors'
import { formatObjectReference } from '@fairlead/shared/object-reference'
import { type Declared, declare, findDefinedKind, type ParsedManifest } from '../applier/declared.ts'
import { type DeclaredHook, findHookPhase, type HookPhase } from '../applier/hook.ts'
import { isLeftAlone, leaveOut } from '../applier/ignored-fields.ts'
import type { GroupVersionKind, ResourceType } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import type { ReconcilerContext } from './context.ts'
import { prepareManifests, type RefusedManifest } from './prepare-manifests.ts'
import type { DesiredTarget } from './target.ts'

/** A manifest that cannot be applied for now. */
export interface Unresolved {
  readonly parsed: ParsedManifest
  readonly error: AppError
}

/** What an application declares. */
export interface LoadedManifests {
  readonly declared: ReadonlyMap<string, Declared>
  /** Keys of objects that are in Git and left alone as a whole: neither applied nor owned. */
  readonly leftAlone: ReadonlySet<string>
  /** Jobs that run once for each revision; not among `declared`. */
  readonly hooks: ReadonlyMap<string, DeclaredHook>
  /** Of kinds that are not served. */
  readonly unresolved: readonly Unresolved[]
  /** Not applied until something changes: declared twice (the first one counts), no hook though it says so, a variable is not known, or no key decrypts it. */
  readonly refused: readonly RefusedManifest[]
  /** Names of the variables that it uses. */
  readonly variables: ReadonlySet<string>
  /** Kinds that its own CRDs define, as `group/kind` to the CRD's name. */
  readonly definedKinds: ReadonlyMap<string, string>
}

/** Objects prepared before others get their turn: parsing thousands must not hold up repairs. */
const BATCH = 100

/** Loads the artifact and resolves its kinds. Throws ArtifactUnavailable, ArtifactCorrupt, InvalidManifest, ApiServerUnavailable or Aborted: then nothing is known. */
export async function loadDeclared(
  context: ReconcilerContext,
  application: string,
  target: DesiredTarget,
  signal: AbortSignal,
): Promise<LoadedManifests> {
  const artifact = await context.artifacts.load(target.artifact, signal)
  const { policy, variables } = target
  return await declareArtifact(context, artifact, { application, policy, variables, signal })
}

/** For whom an artifact declares something, and by which rules. */
interface DeclareOptions {
  readonly application: string
  readonly policy: Pick<SyncPolicy, 'namespace' | 'ignoreFields' | 'substitute'>
  readonly variables: ClusterVariables
  readonly signal: AbortSignal
}

/** What an artifact declares. Throws InvalidManifest, ApiServerUnavailable or Aborted. */
export async function declareArtifact(
  context: ReconcilerContext,
  artifact: Artifact,
  { application, policy, variables, signal }: DeclareOptions,
): Promise<LoadedManifests> {
  const { decryptor } = context
  const options = { application, variables: policy.substitute ? variables : undefined, decryptor, signal }
  const { parsed, refused, used } = await prepareManifests(artifact.manifests, options)
  const loaded = await resolveManifests(context, application, policy, parsed)
  return { ...loaded, refused: [...refused, ...loaded.refused], variables: used }
}

/** Resolves manifests that were read already. Throws ApiServerUnavailable or Aborted. */
export async function resolveManifests(
  context: ReconcilerContext,
  application: string,
  { namespace, ignoreFields }: Pick<SyncPolicy, 'namespace' | 'ignoreFields'>,
  parsed: readonly ParsedManifest[],
): Promise<LoadedManifests> {
  const defined = new Map(parsed.flatMap((manifest) => definitionOf(manifest)))
  const kinds = await resolveKinds(context, parsed, defined)
  const declared = new Map<string, Declared>()
  const hooks = new Map<string, DeclaredHook>()
  const unresolved: Unresolved[] = []
  const refused: RefusedManifest[] = []
  const leftAlone = new Set<string>()
  for (const [index, manifest] of parsed.entries()) {
    if (index % BATCH === BATCH - 1) await nextTurn()
    const kind = kinds.get(kindKey(manifest))
    const isAlone = isLeftAlone(manifest.object)
    if (isAlone && (!kind || kind instanceof AppError)) continue
    if (!kind || kind instanceof AppError) {
      unresolved.push({ parsed: manifest, error: kind ?? new AppError('Internal', 'kind was not looked up') })
      continue
    }
    const whole = declare(manifest, kind, application, namespace)
    if (isAlone) {
      leftAlone.add(whole.key)
      continue
    }
    const object = leaveOut(whole, manifest.object, ignoreFields)
    const phase = phaseOf(manifest)
    if (declared.has(object.key) || hooks.has(object.key)) {
      const error = new AppError('DuplicateObject', `${formatObjectReference(object)} is declared twice`)
      refused.push({ parsed: manifest, error })
    } else if (phase instanceof AppError) refused.push({ parsed: manifest, error: phase })
    else if (phase) hooks.set(object.key, { phase, declared: object })
    else declared.set(object.key, object)
  }
  const definedKinds = new Map([...defined].map(([key, { crd }]) => [key, crd]))
  return { declared, hooks, leftAlone, unresolved, refused, definedKinds, variables: new Set() }
}

/** When it runs as a hook, or why it cannot: that holds up this one, not the application. */
function phaseOf(manifest: ParsedManifest): HookPhase | AppError | undefined {
  try {
    return findHookPhase(manifest)
  } catch (thrown) {
    return toAppError(thrown)
  }
}

interface Definition {
  readonly plural: string
  readonly namespaced: boolean
  readonly crd: string
}

function definitionOf(manifest: ParsedManifest): [string, Definition][] {
  const kind = findDefinedKind(manifest)
  if (!kind) return []
  const { plural, namespaced } = kind
  return [[`${kind.group}/${kind.kind}`, { plural, namespaced, crd: manifest.object.metadata.name }]]
}

async function resolveKinds(
  context: ReconcilerContext,
  parsed: readonly ParsedManifest[],
  defined: ReadonlyMap<string, Definition>,
): Promise<Map<string, ResourceType | AppError>> {
  const wanted = new Map<string, GroupVersionKind>(parsed.map((manifest) => [kindKey(manifest), manifest]))
  const found = new Map<string, ResourceType | AppError>()
  const resolve = async ([key, { group, version, kind }]: [string, GroupVersionKind]): Promise<void> => {
    found.set(key, await resolveKind(context, { group, version, kind }, defined))
  }
  await Promise.all([...wanted].map(resolve))
  return found
}

async function resolveKind(
  context: ReconcilerContext,
  gvk: GroupVersionKind,
  defined: ReadonlyMap<string, Definition>,
): Promise<ResourceType | AppError> {
  try {
    return await context.kube.resolve(gvk, { signal: context.signal })
  } catch (thrown) {
    const error = toAppError(thrown)
    // Without any answer nothing is known. An answer about one group holds up only what is of that group.
    if (error.code !== 'UnknownKind' && !(error instanceof KubeError)) throw error
    const definition = defined.get(`${gvk.group}/${gvk.kind}`)
    if (definition) return { ...gvk, plural: definition.plural, namespaced: definition.namespaced, verbs: [] }
    // Objects of it are owned, so it was served once, perhaps in another version: they stay declared, or they would be
    // pruned for want of an answer. The apply says what is wrong.
    const owned = [...context.table.all()].find(({ group, kind }) => group === gvk.group && kind === gvk.kind)
    return owned ? { ...owned.resource, version: gvk.version } : error
  }
}

function kindKey({ group, version, kind }: GroupVersionKind): string {
  return `${group}/${version}/${kind}`
}
