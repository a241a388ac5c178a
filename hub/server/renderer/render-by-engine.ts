// Asks the engine, and takes what it made: with Helm's hooks as ours, and encrypted manifests as they stand in Git.
import { toAppError } from '@fairlead/shared/errors'
import { formatValuesMount } from '../mounts.ts'
import type { EngineAnswer, EngineHelmOptions, EngineHelmValues, EngineRequest } from './engine-messages.ts'
import { adaptHelmObject, isHelmHook } from './helm-objects.ts'
import { DEFAULT_API_VERSIONS, DEFAULT_KUBE_VERSION } from './kubernetes-apis.ts'
import { KustomizeOrigins } from './kustomize-origins.ts'
import type { RenderInputs, RenderOptions, RunEngine } from './render.ts'
import { type HelmSettings, isWithin, type KustomizeChanges, resolvePath } from './render-tool.ts'
import type { Adapt, Rendering } from './rendering.ts'

/** What to render, by which tool. */
export interface EngineRender {
  /** With a normal path. */
  readonly options: RenderOptions
  readonly tool: 'kustomize' | 'helm'
  readonly run: RunEngine
}

/** Renders into `rendering`, or returns what is to be read before. */
export function renderByEngine(
  rendering: Rendering,
  inputs: RenderInputs,
  { options, tool, run }: EngineRender,
): readonly string[] {
  const settings = tool === 'helm' ? findHelmOptions(options, rendering) : undefined
  if (tool === 'helm' && !settings) return []
  const request: EngineRequest = {
    path: options.path,
    read: inputs.read,
    files: inputs.files,
    skipped: inputs.skipped,
    ...(settings
      ? { helm: settings }
      : {
          kustomize: {
            ...findKustomizeChanges(options),
            kubeVersion: DEFAULT_KUBE_VERSION,
            apiVersions: DEFAULT_API_VERSIONS,
          },
        }),
  }
  const { needs, problems, outputs } = runOrExplain(run, request)
  if (needs.length > 0) return needs
  for (const { code, message, file = options.path, line = 0 } of problems) {
    rendering.report(code, message, { file, line })
  }
  const origins = new KustomizeOrigins(inputs.files)
  const adapt: Adapt =
    tool === 'helm'
      ? adaptHelmObject
      : (document, path) => (isHelmHook(document) ? adaptHelmObject(document) : origins.adapt(document, path))
  for (const { file, bytes } of outputs) rendering.addMade({ path: file, bytes }, adapt)
  return []
}

/** The answer; that the engine died of it is a problem of the files, as they would kill the next one too. */
function runOrExplain(run: RunEngine, request: EngineRequest): EngineAnswer {
  try {
    return run(request)
  } catch (thrown) {
    const { code, message, kind } = toAppError(thrown)
    if (kind !== 'user') throw thrown
    return { needs: [], problems: [{ code, message }], outputs: [], broken: true }
  }
}

/** What Helm is told; undefined, and a problem, when a value file is none of the repository. */
function findHelmOptions(options: RenderOptions, rendering: Rendering): EngineHelmOptions | undefined {
  const { application, path, namespace, render, overrides = [], capabilities } = options
  const helm = render?.helm ?? {}
  const layers = findValueLayers(options)
  const outside = layers.filter(isOutside)
  for (const { field, written } of outside) {
    rendering.report('UnsafePath', `${field}: ${written} leads out of the repository`, { file: path })
  }
  if (outside.length > 0) return undefined
  const overridden = overrides.findLast((each) => each.helm?.kubeVersion)?.helm?.kubeVersion
  const apiVersions = [helm, ...overrides.map((each) => each.helm ?? {})].flatMap((each) => each.apiVersions ?? [])
  return {
    releaseName: helm.releaseName ?? application,
    namespace: namespace || 'default',
    values: layers.filter((layer) => !isOutside(layer)) as EngineHelmValues[],
    kubeVersion: overridden ?? capabilities?.kubeVersion ?? helm.kubeVersion ?? DEFAULT_KUBE_VERSION,
    apiVersions: [...new Set([...(capabilities?.apiVersions ?? DEFAULT_API_VERSIONS), ...apiVersions])],
    includeCrds: helm.skipCrds !== true,
    emptyLookup: helm.emptyLookup === true,
  }
}

/** A value file that is none of the repository. */
export interface OutsideFile {
  readonly field: string
  readonly written: string
}

function isOutside(layer: EngineHelmValues | OutsideFile): layer is OutsideFile {
  return 'written' in layer
}

/** Values in the order in which they win: files and then values, of the application and then of each override. `nameOf` names the override of an index. */
export function findValueLayers(
  { path, render, overrides = [] }: RenderOptions,
  nameOf: (index: number) => string = () => 'overrides[]',
): (EngineHelmValues | OutsideFile)[] {
  const layersOf = (
    { valueFiles = [], valuesFrom = [], values }: HelmSettings,
    field: string,
  ): (EngineHelmValues | OutsideFile)[] => [
    ...valueFiles.map((written) => {
      const file = resolvePath(path, written)
      return file === undefined ? { field: `${field}.valueFiles`, written } : { file }
    }),
    ...valuesFrom.map(({ ref = '', ...file }) => ({ file: formatValuesMount({ ref, ...file }) })),
    ...(values ? [{ field: `${field}.values`, values }] : []),
  ]
  return [
    ...layersOf(render?.helm ?? {}, 'render.helm'),
    ...overrides.flatMap((each, index) => layersOf(each.helm ?? {}, `${nameOf(index)}.helm`)),
  ]
}

/** Value files that are not in the application's folder: known before the engine asks for them. */
export function findValueFilesElsewhere(options: RenderOptions): string[] {
  const files = findValueLayers(options).flatMap((layer) => ('file' in layer ? [layer.file] : []))
  return [...new Set(files)].filter((file) => !isWithin(file, options.path))
}

function findKustomizeChanges({ overrides = [] }: RenderOptions): KustomizeChanges {
  const all = overrides.map(({ kustomize = {} }) => kustomize)
  return {
    patches: all.flatMap(({ patches = [] }) => patches),
    images: all.flatMap(({ images = [] }) => images),
    replicas: all.flatMap(({ replicas = [] }) => replicas),
  }
}
