// Renders the files of an application: plain YAML and JSON by itself, charts and Kustomize folders by the engine.
// No file system, no network: equal inputs give equal objects, apart from what a chart draws by lot or takes from a clock.
import { canonicalJson, sha256Hex } from '@fairlead/shared/digest'
import type { Capabilities } from '../capabilities.ts'
import type { SourceFile, SourceTree } from '../tracker/source-tree.ts'
import type { EngineAnswer, EngineRequest } from './engine-messages.ts'
import { renderByEngine } from './render-by-engine.ts'
import {
  chooseTool,
  findForeignFolders,
  findMisfit,
  isWithin,
  type RenderOverride,
  type RenderSettings,
} from './render-tool.ts'
import { Rendering, type RenderOutcome } from './rendering.ts'

/** Grows whenever equal inputs may give another artifact than before, as with new versions of Helm and Kustomize, so that everything is rendered again. */
export const RENDERER_VERSION = 7

/** What a render depends on besides the files. */
export interface RenderOptions {
  /** The application's name, for messages; and the name of a chart's release, where its settings give none. */
  readonly application: string
  /** Its folder or file, from the repository's root; empty for the root. */
  readonly path: string
  /** Namespace for objects that name none: the agent fills it in. Here to recognise duplicates, and for charts. */
  readonly namespace: string
  /** Whether agents replace variables: then malformed ones are problems. Default true. */
  readonly substitute?: boolean
  /** How the definition says that the files become objects; default: by what the folder holds. */
  readonly render?: RenderSettings
  /** What is otherwise on the clusters that it is rendered for; later ones win. Default none. `path` has been taken over. */
  readonly overrides?: readonly RenderOverride[]
  /** What charts see of the clusters that it is rendered for; default: one Kubernetes for all, or what the settings say. */
  readonly capabilities?: Capabilities
}

/** Everything that was read for a render. */
export interface RenderInputs extends Pick<SourceTree, 'files' | 'skipped'> {
  /** Files and folders that were read, the application's first. What is not there below one of them is not in Git. */
  readonly read: readonly string[]
}

/** What a render answers when files that it was not given may be in Git. */
export interface NeedsMore {
  /** Files or folders to be read before it is tried again. */
  readonly needs: readonly string[]
}

/** Renders a request, or throws LimitExceeded or RenderFailed. */
export type RunEngine = (request: EngineRequest) => EngineAnswer

/** One thing that was read: its path, and its Git object id as SourceTree has it; null when there is no such thing. */
export type ReadPath = readonly [path: string, treeOid: string | null]

/** Digest of everything that the outcome depends on: equal hashes need no second render. `read`: see RenderInputs. */
export function inputHash(
  read: readonly ReadPath[],
  options: Omit<RenderOptions, 'capabilities'> & { readonly capabilitiesDigest?: string },
): string {
  const { application, path, namespace, substitute = true, render = {}, overrides = [], capabilitiesDigest } = options
  const version = RENDERER_VERSION
  const inputs = { version, read, application, path, namespace, substitute, render, capabilitiesDigest }
  return sha256Hex(canonicalJson(overrides.length > 0 ? { ...inputs, overrides } : inputs))
}

/** Renders an application. Never throws for what the files hold: that becomes problems. */
export function renderApplication(
  inputs: RenderInputs,
  given: RenderOptions,
  run: RunEngine,
): RenderOutcome | NeedsMore {
  const options = { ...given, path: normalize(given.path) }
  const rendering = new Rendering(options)
  const paths = inputs.files.map((file) => file.path)
  const choice = chooseTool(paths, options.path, options.render)
  const misfit = 'tool' in choice ? findMisfit(choice.tool, options.overrides ?? []) : undefined
  if ('fault' in choice) {
    rendering.report('InvalidManifest', choice.fault, { file: choice.file })
  } else if (misfit !== undefined) {
    rendering.report('InvalidManifest', misfit, { file: options.path })
  } else if (choice.tool === 'plain') {
    addPlainFiles(rendering, inputs, options.path)
  } else {
    const needs = renderByEngine(rendering, inputs, { options, tool: choice.tool, run })
    if (needs.length > 0) return { needs }
  }
  return rendering.finish()
}

/** True when the engine is needed to render the files. */
export function needsEngine({ files }: RenderInputs, { path, render }: RenderOptions): boolean {
  const choice = chooseTool(
    files.map((file) => file.path),
    normalize(path),
    render,
  )
  return 'tool' in choice && choice.tool !== 'plain'
}

/** Every `.yaml`, `.yml` and `.json` file, in the order of paths; names that begin with a point are passed over. */
function addPlainFiles(rendering: Rendering, { files, skipped }: RenderInputs, root: string): void {
  const foreign = findForeignFolders(
    files.map((file) => file.path),
    root,
  )
  for (const [folder, file] of foreign) {
    const what = file.endsWith('Chart.yaml') ? 'a Helm chart' : 'a Kustomize folder'
    const message = `${folder === '' ? 'the root' : folder} is ${what} among plain manifests; make it an Application of its own`
    rendering.report('InvalidManifest', message, { file })
  }
  const isCovered = (path: string): boolean => [...foreign.keys()].some((folder) => isWithin(path, folder))
  for (const entry of skipped) {
    // What is not a file may hold manifests, whatever it is called.
    const concerns = entry.kind === 'file' ? isManifestFile(entry.path, root) : !isHidden(entry.path, root)
    if (concerns && !isCovered(entry.path)) rendering.report(entry.code, entry.message, { file: entry.path })
  }
  const manifests = files.filter((file) => isManifestFile(file.path, root) && !isCovered(file.path))
  for (const file of manifests.sort(byPath)) rendering.addFile(file)
}

function byPath(a: SourceFile, b: SourceFile): number {
  return a.path < b.path ? -1 : 1
}

/** As the tracker writes paths: without leading `./` and spare slashes. */
function normalize(path: string): string {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/')
}

function isManifestFile(path: string, root: string): boolean {
  return path === root || (/\.(?:ya?ml|json)$/.test(path) && !isHidden(path, root))
}

/** True when a part of the path below the application's begins with a point, as in `.github`. */
function isHidden(path: string, root: string): boolean {
  const below = path === root ? '' : root === '' ? path : path.slice(root.length + 1)
  return below.split('/').some((part) => part.startsWith('.'))
}
