// The real servers that tests and the demo run against: found, or built once from the Go module proxy and kept in a cache.
// Each folder beside this file pins one tool by go.mod and go.sum; the cache is keyed by tool, version and those two files.

import { createHash } from 'node:crypto'
import { accessSync, constants, readFileSync } from 'node:fs'
import path from 'node:path'
import { type BuildOptions, buildOnce, getCacheFolder, run } from './go-build.ts'

/** The servers and clients that can be asked for, in the order in which they are needed and therefore built. */
export const toolNames = [
  'nats-server',
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kwok',
  'helm',
  'helm3',
  'kustomize',
  'sops',
  'crane',
  'cosign',
] as const

/** The name of one tool. `helm` is Helm 4, `helm3` is Helm 3. */
export type ToolName = (typeof toolNames)[number]

/** The Kubernetes versions that Fairlead is tested on, newest first; all but the newest by `npm run test:versions` only. */
export const kubernetesVersions = ['1.36', '1.34', '1.32'] as const

/** Major and minor version of Kubernetes. */
export type KubernetesVersion = (typeof kubernetesVersions)[number]

/** The tools that differ from one version of Kubernetes to another. */
export const kubernetesTools = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const

type Tool = {
  readonly folder: string
  readonly binary: string
  readonly module: string
  readonly package: string
  readonly versionArgs: readonly string[]
  /** Seconds that a first build takes on two cores: told to the person who waits. */
  readonly coldBuildSeconds: number
}

/** The environment variable that says on which Kubernetes to test; none: on the newest. */
const VERSION_VARIABLE = 'FAIRLEAD_KUBERNETES'

const kubernetes = { folder: 'kubernetes', module: 'k8s.io/kubernetes', versionArgs: ['--version'] }

const tools: Readonly<Record<ToolName, Tool>> = {
  'nats-server': {
    folder: 'nats-server',
    binary: 'nats-server',
    module: 'github.com/nats-io/nats-server/v2',
    package: 'github.com/nats-io/nats-server/v2',
    versionArgs: ['--version'],
    coldBuildSeconds: 30,
  },
  etcd: {
    folder: 'etcd',
    binary: 'etcd',
    module: 'go.etcd.io/etcd/server/v3',
    package: 'go.etcd.io/etcd/server/v3',
    versionArgs: ['--version'],
    coldBuildSeconds: 25,
  },
  'kube-apiserver': {
    ...kubernetes,
    binary: 'kube-apiserver',
    package: 'k8s.io/kubernetes/cmd/kube-apiserver',
    coldBuildSeconds: 200,
  },
  'kube-controller-manager': {
    ...kubernetes,
    binary: 'kube-controller-manager',
    package: 'k8s.io/kubernetes/cmd/kube-controller-manager',
    coldBuildSeconds: 55,
  },
  'kube-scheduler': {
    ...kubernetes,
    binary: 'kube-scheduler',
    package: 'k8s.io/kubernetes/cmd/kube-scheduler',
    coldBuildSeconds: 10,
  },
  kwok: {
    folder: 'kwok',
    binary: 'kwok',
    module: 'sigs.k8s.io/kwok',
    package: 'sigs.k8s.io/kwok/cmd/kwok',
    versionArgs: ['--version'],
    coldBuildSeconds: 65,
  },
  helm: {
    folder: 'helm',
    binary: 'helm',
    module: 'helm.sh/helm/v4',
    package: 'helm.sh/helm/v4/cmd/helm',
    versionArgs: ['version', '--short'],
    coldBuildSeconds: 100,
  },
  helm3: {
    folder: 'helm3',
    binary: 'helm',
    module: 'helm.sh/helm/v3',
    package: 'helm.sh/helm/v3/cmd/helm',
    versionArgs: ['version', '--short'],
    coldBuildSeconds: 55,
  },
  kustomize: {
    folder: 'kustomize',
    binary: 'kustomize',
    module: 'sigs.k8s.io/kustomize/kustomize/v5',
    package: 'sigs.k8s.io/kustomize/kustomize/v5',
    versionArgs: ['version'],
    coldBuildSeconds: 20,
  },
  sops: {
    folder: 'sops',
    binary: 'sops',
    module: 'github.com/getsops/sops/v3',
    package: 'github.com/getsops/sops/v3/cmd/sops',
    versionArgs: ['--version'],
    coldBuildSeconds: 140,
  },
  crane: {
    folder: 'crane',
    binary: 'crane',
    module: 'github.com/google/go-containerregistry',
    package: 'github.com/google/go-containerregistry/cmd/crane',
    versionArgs: ['version'],
    coldBuildSeconds: 40,
  },
  cosign: {
    folder: 'cosign',
    binary: 'cosign',
    module: 'github.com/sigstore/cosign/v3',
    package: 'github.com/sigstore/cosign/v3/cmd/cosign',
    versionArgs: ['version'],
    coldBuildSeconds: 200,
  },
}

/**
 * Returns the absolute path of each named tool: from the cache, else a binary of exactly the pinned version on
 * PATH or in KUBEBUILDER_ASSETS, else built now (minutes the first time). Two runs never build the same thing
 * at once. Rejects with what to do when Go is missing, too old, or the build fails.
 */
export async function ensureTools<N extends ToolName>(
  names: readonly N[],
  options: BuildOptions = {},
): Promise<Record<N, string>> {
  const found = new Map<ToolName, string>()
  for (const name of toolNames) {
    if (!(names as readonly ToolName[]).includes(name)) continue
    found.set(name, findCached(name) ?? (await findInstalled(name)) ?? (await build(name, options)))
  }
  return Object.fromEntries(found) as Record<N, string>
}

/** The version of Kubernetes that FAIRLEAD_KUBERNETES asks for, default the newest. Throws when it is none of kubernetesVersions. */
export function getKubernetesVersion(): KubernetesVersion {
  const wanted = process.env[VERSION_VARIABLE] || kubernetesVersions[0]
  const version = kubernetesVersions.find((one) => one === wanted)
  if (version) return version
  throw new Error(`${VERSION_VARIABLE} is ${JSON.stringify(wanted)}; it may be ${kubernetesVersions.join(', ')}`)
}

/** The newest Kubernetes is pinned in `kubernetes`, each older one in a folder that bears its version. */
function folderOf({ folder }: Tool): string {
  if (folder !== kubernetes.folder || getKubernetesVersion() === kubernetesVersions[0]) return folder
  return `${folder}-${getKubernetesVersion()}`
}

/** The version that the tool's go.mod pins, such as `v3.7.3`. */
export function getPinnedVersion(name: ToolName): string {
  const { module } = tools[name]
  const folder = folderOf(tools[name])
  const version = readModuleFile(folder, 'go.mod').match(
    new RegExp(`^\\s*(?:require )?${module.replaceAll('.', '\\.')} (v\\S+)`, 'm'),
  )?.[1]
  if (version === undefined) throw new Error(`e2e/tools/${folder}/go.mod does not require ${module}`)
  return version
}

/** Where the built binary of a tool is kept, whether it is there or not. */
export function getCachePath(name: ToolName): string {
  const { binary } = tools[name]
  const folder = folderOf(tools[name])
  const hash = createHash('sha256')
    .update(readModuleFile(folder, 'go.mod'))
    .update(readModuleFile(folder, 'go.sum'))
    .digest('hex')
    .slice(0, 12)
  return path.join(getCacheFolder(), `${folder}-${getPinnedVersion(name)}-${hash}`, binary)
}

function readModuleFile(folder: string, file: string): string {
  return readFileSync(path.join(import.meta.dirname, folder, file), 'utf8')
}

function findCached(name: ToolName): string | undefined {
  const file = getCachePath(name)
  return isExecutable(file) ? file : undefined
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

async function findInstalled(name: ToolName): Promise<string | undefined> {
  const { binary, versionArgs } = tools[name]
  const folders = [process.env.KUBEBUILDER_ASSETS, ...(process.env.PATH ?? '').split(path.delimiter)]
  const pinned = new RegExp(`(^|[^0-9.])${getPinnedVersion(name).slice(1).replaceAll('.', '\\.')}([^0-9.]|$)`)
  for (const folder of folders) {
    if (!folder) continue
    const file = path.resolve(folder, binary)
    if (isExecutable(file) && pinned.test((await run(file, versionArgs, {})).output)) return file
  }
  return undefined
}

async function build(name: ToolName, options: BuildOptions): Promise<string> {
  const { package: packageName, binary, coldBuildSeconds } = tools[name]
  const version = getPinnedVersion(name)
  return await buildOnce(
    {
      name: `${name} ${version}`,
      folder: path.join(import.meta.dirname, folderOf(tools[name])),
      package: packageName,
      target: getCachePath(name),
      linkerFlags: versionFlags(name),
      coldBuildSeconds,
      otherwise: `put ${binary} ${version} on PATH`,
    },
    options,
  )
}

/** Without these, Kubernetes says it is v0.0.0 and clients misread it; the upstream release build sets them the same way. */
function versionFlags(name: ToolName): string {
  if (tools[name].folder !== kubernetes.folder) return ''
  const version = getPinnedVersion(name)
  const [major, minor] = version.slice(1).split('.')
  const base = 'k8s.io/component-base/version'
  return [
    `-X ${base}.gitVersion=${version}`,
    `-X ${base}.gitMajor=${major}`,
    `-X ${base}.gitMinor=${minor}`,
    `-X k8s.io/client-go/pkg/version.gitVersion=${version}`,
  ].join(' ')
}
