// Which tool renders a folder: as the definition says, else by what the folder holds. Pure.

/** How a definition says that its folder becomes objects: fairlead.v1.RenderOptions as JSON. */
export interface RenderSettings {
  readonly plain?: Readonly<Record<string, never>>
  readonly kustomize?: Readonly<Record<string, never>>
  readonly helm?: HelmSettings
}

/** What is otherwise on some clusters, without the choice of them: fairlead.v1.Override as JSON. */
export interface RenderOverride {
  readonly path?: string
  readonly helm?: Pick<HelmSettings, 'valueFiles' | 'valuesFrom' | 'values' | 'kubeVersion' | 'apiVersions'>
  readonly kustomize?: KustomizeChanges
}

/** What is added to the end of the lists of a kustomization, as there. */
export interface KustomizeChanges {
  readonly patches?: readonly unknown[]
  readonly images?: readonly unknown[]
  readonly replicas?: readonly unknown[]
}

/** What a definition says of a chart. */
export interface HelmSettings {
  readonly releaseName?: string
  /** As they are written: relative to the application's path. */
  readonly valueFiles?: readonly string[]
  /** Of other repositories. */
  readonly valuesFrom?: readonly ValueFile[]
  readonly values?: Readonly<Record<string, unknown>>
  /** `cluster`: as each cluster reports them. */
  readonly capabilities?: string
  readonly kubeVersion?: string
  readonly apiVersions?: readonly string[]
  readonly skipCrds?: boolean
  readonly emptyLookup?: boolean
}

/** A file of values in another repository. */
export interface ValueFile {
  readonly repository: string
  readonly ref?: string
  readonly path: string
}

/** Who makes objects of the files. */
export type RenderTool = 'plain' | 'kustomize' | 'helm'

/** The tool, or why none can be named. */
export type RenderToolChoice = { readonly tool: RenderTool } | { readonly fault: string; readonly file: string }

const MARKS: Readonly<Record<'kustomize' | 'helm', RegExp>> = {
  kustomize: /^(?:kustomization\.ya?ml|Kustomization)$/,
  helm: /^Chart\.yaml$/,
}

/** Chooses the tool for a folder, of which `paths` are all files, or for one file. Paths are from the repository's root. */
export function chooseTool(paths: Iterable<string>, path: string, settings: RenderSettings = {}): RenderToolChoice {
  const found: Partial<Record<RenderTool, string>> = {}
  for (const each of paths) {
    const name = each === path ? '' : nameIn(path, each)
    for (const tool of ['kustomize', 'helm'] as const) if (MARKS[tool].test(name)) found[tool] = each
  }
  const declared = (['plain', 'kustomize', 'helm'] as const).find((tool) => settings[tool] !== undefined)
  if (declared && declared !== 'plain' && found[declared] === undefined) {
    const file = declared === 'helm' ? 'Chart.yaml' : 'kustomization.yaml'
    return { fault: `spec.render says ${declared}, but there is no ${file} here`, file: path }
  }
  if (declared) return { tool: declared }
  if (found.helm !== undefined && found.kustomize !== undefined) {
    const fault = 'the folder holds a chart and a kustomization; say by spec.render which of them is meant'
    return { fault, file: found.helm }
  }
  return { tool: found.helm !== undefined ? 'helm' : found.kustomize !== undefined ? 'kustomize' : 'plain' }
}

/** Why overrides cannot be had with a tool: they would be passed over. */
export function findMisfit(tool: RenderTool, overrides: readonly RenderOverride[]): string | undefined {
  const names: Readonly<Record<'helm' | 'kustomize', string>> = {
    helm: 'a Helm chart',
    kustomize: 'a Kustomize folder',
  }
  const given = (['helm', 'kustomize'] as const).find((each) => each !== tool && overrides.some((one) => one[each]))
  return (
    given &&
    `overrides[].${given} is for ${names[given]}, and ${tool === 'plain' ? 'this is neither' : `this is ${names[tool]}`}`
  )
}

/** Folders below that another tool would have to render, each with the file that says so; folders inside such a folder are left out. */
export function findForeignFolders(paths: Iterable<string>, root: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const path of paths) {
    const slash = path.lastIndexOf('/')
    const isMark = Object.values(MARKS).some((mark) => mark.test(path.slice(slash + 1)))
    if (path !== root && isMark) found.set(slash < 0 ? '' : path.slice(0, slash), path)
  }
  for (const folder of [...found.keys()].sort()) {
    for (const other of found.keys()) if (other !== folder && isWithin(other, folder)) found.delete(other)
  }
  return found
}

/** A path relative to a folder, from the repository's root; undefined when it leads out of it. */
export function resolvePath(folder: string, written: string): string | undefined {
  const parts = folder.split('/').filter((part) => part !== '' && part !== '.')
  for (const part of written.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return undefined
  }
  return parts.join('/')
}

/** True for a path that is the folder or below it; every path of the repository is below the empty one. */
export function isWithin(path: string, folder: string): boolean {
  return folder === '' ? !path.startsWith('/') : path === folder || path.startsWith(`${folder}/`)
}

/** The name of a file directly in a folder; empty for any other. */
function nameIn(folder: string, path: string): string {
  const slash = path.lastIndexOf('/')
  return (slash < 0 ? '' : path.slice(0, slash)) === folder ? path.slice(slash + 1) : ''
}
