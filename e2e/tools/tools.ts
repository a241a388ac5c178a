// The real servers that tests and the demo run against: found, or built once from the Go module proxy and kept in a cache.
// Each folder beside this file pins one tool by go.mod and go.sum; the cache is keyed by tool, version and those two files.

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, readFileSync } from 'node:fs'
import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

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
  'sops',
] as const

/** The name of one tool. `helm` is Helm 4, `helm3` is Helm 3. */
export type ToolName = (typeof toolNames)[number]

/** The Kubernetes versions that Fairlead is tested on, newest first; all but the newest by `npm run test:versions` only. */
export const kubernetesVersions = ['1.36', '1.34', '1.32'] as const

/** Major and minor version of Kubernetes. */
export type KubernetesVersion = (typeof kubernetesVersions)[number]

/** The tools that differ from one version of Kubernetes to another. */
export const kubernetesTools = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const

/** How ensureTools reports and how it is stopped. */
export type EnsureOptions = {
  /** Ends a running build; ensureTools then rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Receives one line per step. Default: standard error. */
  readonly log?: (line: string) => void
}

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
  sops: {
    folder: 'sops',
    binary: 'sops',
    module: 'github.com/getsops/sops/v3',
    package: 'github.com/getsops/sops/v3/cmd/sops',
    versionArgs: ['--version'],
    coldBuildSeconds: 140,
  },
}

/**
 * Returns the absolute path of each named tool: from the cache, else a binary of exactly the pinned version on
 * PATH or in KUBEBUILDER_ASSETS, else built now (minutes the first time). Two runs never build the same thing
 * at once. Rejects with what to do when Go is missing, too old, or the build fails.
 */
export async function ensureTools<N extends ToolName>(
  names: readonly N[],
  { signal, log = (line) => console.error(line) }: EnsureOptions = {},
): Promise<Record<N, string>> {
  const found = new Map<ToolName, string>()
  for (const name of toolNames) {
    if (!(names as readonly ToolName[]).includes(name)) continue
    found.set(name, findCached(name) ?? (await findInstalled(name)) ?? (await build(name, log, signal)))
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
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache')
  return path.join(cache, 'fairlead', 'tools', `${folder}-${getPinnedVersion(name)}-${hash}`, binary)
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

async function build(name: ToolName, log: (line: string) => void, signal?: AbortSignal): Promise<string> {
  const target = getCachePath(name)
  await mkdir(path.dirname(target), { recursive: true })
  const unlock = await lock(`${target}.lock`, () => log(`tools: waiting for another run that builds ${name}`), signal)
  try {
    if (isExecutable(target)) return target
    await checkGo(name)
    const { coldBuildSeconds } = tools[name]
    log(`tools: building ${name} ${getPinnedVersion(name)} from source, once (about ${coldBuildSeconds} s on 2 cores)`)
    const startedAt = performance.now()
    const seconds = () => Math.round((performance.now() - startedAt) / 1000)
    const ticker = setInterval(() => log(`tools: still building ${name}, ${seconds()} s`), 20_000)
    try {
      await compile(name, target, signal)
    } finally {
      clearInterval(ticker)
    }
    log(`tools: built ${name} in ${seconds()} s, kept in ${path.dirname(target)}`)
    return target
  } finally {
    await unlock()
  }
}

async function compile(name: ToolName, target: string, signal?: AbortSignal): Promise<void> {
  const tool = tools[name]
  const temporary = `${target}.${process.pid}.tmp`
  const args = ['-C', path.join(import.meta.dirname, folderOf(tool)), 'build', '-trimpath']
  args.push('-ldflags', `-s -w ${versionFlags(name)}`.trim(), '-o', temporary, tool.package)
  const env = { GOTOOLCHAIN: 'local', CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off' }
  const { status, output } = await run('go', args, { env, ...(signal && { signal }) })
  if (status !== 0) {
    await rm(temporary, { force: true })
    signal?.throwIfAborted()
    throw new Error(`building ${name} failed: go ${args.join(' ')}\n${output.slice(-4000)}`)
  }
  await rename(temporary, target)
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

async function checkGo(name: ToolName): Promise<void> {
  const wanted = readModuleFile(folderOf(tools[name]), 'go.mod').match(/^go (\S+)/m)?.[1] ?? '1.26'
  const { status, output } = await run('go', ['env', 'GOVERSION'], { env: { GOTOOLCHAIN: 'local' } })
  const found = output.match(/go(\d+\.\d+(?:\.\d+)?)/)?.[1]
  if (status === 0 && found !== undefined && compareVersions(found, wanted) >= 0) return
  throw new Error(
    `Go ${wanted} or newer is needed to build ${name}, and ${found ? `Go ${found} was found` : 'no Go was found on PATH'}. ` +
      `Install it from https://go.dev/dl, or put ${tools[name].binary} ${getPinnedVersion(name)} on PATH.`,
  )
}

function compareVersions(left: string, right: string): number {
  const [leftNumbers, rightNumbers] = [left, right].map((version) => version.split('.').map(Number))
  for (let index = 0; index < 3; index++) {
    const difference = (leftNumbers?.[index] ?? 0) - (rightNumbers?.[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

type RunOptions = { readonly env?: NodeJS.ProcessEnv; readonly signal?: AbortSignal }

function run(file: string, args: readonly string[], { env, signal }: RunOptions) {
  return new Promise<{ status: number; output: string }>((resolve) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env }, signal })
    let output = ''
    const collect = (chunk: Buffer) => {
      output += chunk.toString()
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.on('error', (error) => resolve({ status: -1, output: `${output}${error.message}` }))
    child.on('close', (status) => resolve({ status: status ?? -1, output }))
  })
}

const lockBeatMs = 5_000
const lockStaleMs = 60_000

/** Takes a lock file, touched while it is held; one not touched for a minute is taken over. Returns the unlock function. */
async function lock(file: string, onWait: () => void, signal?: AbortSignal): Promise<() => Promise<void>> {
  for (let waits = 0; ; waits++) {
    signal?.throwIfAborted()
    try {
      await (await open(file, 'wx')).close()
      const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), lockBeatMs)
      return async () => {
        clearInterval(beat)
        await rm(file, { force: true })
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const touchedAt = await stat(file).then(
      ({ mtimeMs }) => mtimeMs,
      () => Date.now(),
    )
    if (Date.now() - touchedAt > lockStaleMs) await rm(file, { force: true })
    else if (waits === 0) onWait()
    await delay(200, undefined, signal ? { signal } : {})
  }
}
