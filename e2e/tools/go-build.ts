// Builds a Go program once and keeps it in a cache: two runs never build the same at once, and who waits is told why.

import { spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** How a build reports and how it is stopped. */
export type BuildOptions = {
  /** Ends a running build; buildOnce then rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Receives one line per step. Default: standard error. */
  readonly log?: (line: string) => void
}

/** What is to be built. */
export type GoBuild = {
  /** For people, such as `helm v4.3.1`. */
  readonly name: string
  /** Folder of the go.mod. */
  readonly folder: string
  readonly package: string
  /** Where the result is kept; what is there already is not built again. */
  readonly target: string
  /** Seconds that a first build takes on two cores: told to the person who waits. */
  readonly coldBuildSeconds: number
  /** Further flags of `go build`. */
  readonly flags?: readonly string[]
  /** Further flags of the linker. */
  readonly linkerFlags?: string
  readonly env?: Readonly<Record<string, string>>
  /** Makes of the file that Go built the one that is kept, in its place. */
  readonly finish?: (file: string) => Promise<void>
  /** What else could be done where there is no Go. */
  readonly otherwise?: string
}

/** The folder in which all builds are kept. */
export function getCacheFolder(): string {
  const cache = process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache')
  return path.join(cache, 'fairlead', 'tools')
}

/** Builds unless the target is there, and returns it. Rejects with what to do when Go is missing, too old, or the build fails. */
export async function buildOnce(build: GoBuild, options: BuildOptions = {}): Promise<string> {
  const { signal, log = (line) => console.error(line) } = options
  const { name, target, coldBuildSeconds } = build
  if (isThere(target)) return target
  await mkdir(path.dirname(target), { recursive: true })
  const unlock = await lock(`${target}.lock`, () => log(`tools: waiting for another run that builds ${name}`), signal)
  try {
    if (isThere(target)) return target
    await checkGo(build)
    log(`tools: building ${name} from source, once (about ${coldBuildSeconds} s on 2 cores)`)
    const startedAt = performance.now()
    const seconds = () => Math.round((performance.now() - startedAt) / 1000)
    const ticker = setInterval(() => log(`tools: still building ${name}, ${seconds()} s`), 20_000)
    try {
      await compile(build, signal)
    } finally {
      clearInterval(ticker)
    }
    log(`tools: built ${name} in ${seconds()} s, kept in ${path.dirname(target)}`)
    return target
  } finally {
    await unlock()
  }
}

function isThere(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return true
  } catch {
    return false
  }
}

async function compile({ name, folder, target, ...build }: GoBuild, signal?: AbortSignal): Promise<void> {
  const temporary = `${target}.${process.pid}.tmp`
  const args = ['-C', folder, 'build', '-trimpath', ...(build.flags ?? [])]
  args.push('-ldflags', `-s -w ${build.linkerFlags ?? ''}`.trim(), '-o', temporary, build.package)
  const env = { GOTOOLCHAIN: 'local', CGO_ENABLED: '0', GOFLAGS: '', GOWORK: 'off', ...build.env }
  const { status, output } = await run('go', args, { env, ...(signal && { signal }) })
  if (status !== 0) {
    await rm(temporary, { force: true })
    signal?.throwIfAborted()
    throw new Error(`building ${name} failed: go ${args.join(' ')}\n${output.slice(-4000)}`)
  }
  await build.finish?.(temporary)
  await rename(temporary, target)
}

async function checkGo({ name, folder, otherwise }: GoBuild): Promise<void> {
  const wanted = readFileSync(path.join(folder, 'go.mod'), 'utf8').match(/^go (\S+)/m)?.[1] ?? '1.26'
  const { status, output } = await run('go', ['env', 'GOVERSION'], { env: { GOTOOLCHAIN: 'local' } })
  const found = output.match(/go(\d+\.\d+(?:\.\d+)?)/)?.[1]
  if (status === 0 && found !== undefined && compareVersions(found, wanted) >= 0) return
  throw new Error(
    `Go ${wanted} or newer is needed to build ${name}, and ${found ? `Go ${found} was found` : 'no Go was found on PATH'}. ` +
      `Install it from https://go.dev/dl${otherwise ? `, or ${otherwise}` : ''}.`,
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

/** Runs a command and collects what it writes; status -1 when it cannot be started. */
export function run(file: string, args: readonly string[], { env, signal }: RunOptions) {
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
