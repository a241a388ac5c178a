// Asks the engine, and takes what it made: with Helm's hooks as ours, and encrypted manifests as they stand in Git.
import { toAppError } from '@fairlead/shared/errors'
import type { EngineAnswer, EngineHelmOptions, EngineRequest } from './engine-messages.ts'
import { adaptHelmObject } from './helm-objects.ts'
import { DEFAULT_API_VERSIONS, DEFAULT_KUBE_VERSION } from './kubernetes-apis.ts'
import { KustomizeOrigins } from './kustomize-origins.ts'
import type { RenderInputs, RenderOptions, RunEngine } from './render.ts'
import { isWithin, resolveValueFiles } from './render-tool.ts'
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
    ...(settings ? { helm: settings } : { kustomize: {} }),
  }
  const { needs, problems, outputs } = runOrExplain(run, request)
  if (needs.length > 0) return needs
  for (const { code, message, file = options.path, line = 0 } of problems) {
    rendering.report(code, message, { file, line })
  }
  const origins = new KustomizeOrigins(inputs.files)
  const adapt: Adapt = tool === 'helm' ? adaptHelmObject : (document, path) => origins.adapt(document, path)
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
  const { application, path, namespace, render } = options
  const helm = render?.helm ?? {}
  const valueFiles = resolveValueFiles(path, helm)
  for (const [index, file] of valueFiles.entries()) {
    if (file !== undefined) continue
    const message = `render.helm.valueFiles: ${helm.valueFiles?.[index]} leads out of the repository`
    rendering.report('UnsafePath', message, { file: path })
  }
  if (valueFiles.includes(undefined)) return undefined
  return {
    releaseName: helm.releaseName ?? application,
    namespace: namespace || 'default',
    valueFiles: valueFiles.filter((file) => file !== undefined),
    values: helm.values ? JSON.stringify(helm.values) : '',
    kubeVersion: helm.kubeVersion ?? DEFAULT_KUBE_VERSION,
    apiVersions: [...DEFAULT_API_VERSIONS, ...(helm.apiVersions ?? [])],
    includeCrds: helm.skipCrds !== true,
    emptyLookup: helm.emptyLookup === true,
  }
}

/** Value files that are not in the application's folder: known before the engine asks for them. */
export function findValueFilesElsewhere({ path, render }: RenderOptions): string[] {
  const files = resolveValueFiles(path, render?.helm ?? {})
  return [...new Set(files)].filter((file) => file !== undefined && !isWithin(file, path)) as string[]
}
