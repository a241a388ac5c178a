// The program as it is shipped, built into an empty folder: a real hub with a real nats-server, and commands as a user types them.
import { spawn } from 'node:child_process'
import { mkdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { type GitRepository, type GitServer, startGitServer } from '@fairlead/e2e/harness/git-server'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { takePort } from '@fairlead/e2e/harness/ports'
import { type ManagedProcess, startProcess } from '@fairlead/e2e/harness/process'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const folder = makeRunFolder('cli')
const dist = path.join(folder, 'dist')
const configFile = path.join(folder, 'config', 'config.yaml')
const env = { PATH: process.env.PATH ?? '', HOME: folder, FAIRLEAD_CONFIG: configFile }
let hub: ManagedProcess
let git: GitServer
let shop: GitRepository
let hubArgs: string[]
let address: string

interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts `fairlead` with these arguments. */
function start(args: readonly string[], input = '') {
  const child = spawn(process.execPath, [path.join(dist, 'fairlead.js'), ...args], { env, cwd: folder })
  child.stdin.end(input)
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
  const result = Promise.all([exited, text(child.stdout), text(child.stderr)]).then(
    ([code, stdout, stderr]): Result => ({ code, stdout, stderr }),
  )
  return { child, result }
}

const fairlead = (...args: string[]): Promise<Result> => start(args).result

async function startHub(): Promise<void> {
  hub = startProcess({
    name: 'hub',
    command: process.execPath,
    args: [path.join(dist, 'fairlead.js'), ...hubArgs],
    env,
    cwd: folder,
  })
  await waitFor('the hub to answer', async () => (await fairlead('version')).code === 0, {
    timeoutMs: 30_000,
    alive: [hub],
  })
}

const definitions = (url: string) => `apiVersion: fairlead.dev/v1alpha1
kind: Repository
metadata: {name: shop}
spec: {url: "${url}", pollInterval: 1s}
---
apiVersion: fairlead.dev/v1alpha1
kind: Application
metadata: {name: web}
spec:
  source: {repository: shop, ref: main, path: web}
  placement: {clusters: {matchLabels: {env: prod}}}
`

beforeAll(async () => {
  await mkdir(dist, { recursive: true })
  const build = startProcess({
    name: 'build',
    command: process.execPath,
    args: [path.join(import.meta.dirname, 'build.ts'), dist],
  })
  expect((await build.exited).code, build.tail()).toBe(0)
  git = await startGitServer()
  shop = git.createRepository('shop')
  shop.commit({ 'web/config.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n' })
  address = `127.0.0.1:${await takePort()}`
  const nats = `127.0.0.1:${await takePort()}`
  hubArgs = [
    'hub',
    '--data-dir',
    'data',
    '--listen',
    address,
    '--nats-listen',
    nats,
    '--nats-server',
    await getNatsBinary(),
  ]
  await startHub()
})
afterAll(async () => {
  await hub?.stop()
  await git?.stop()
})

describe('a person with a fresh hub', () => {
  test('has a context that only they can read, and both versions', async () => {
    expect((await stat(configFile)).mode & 0o777).toBe(0o600)
    expect((await fairlead('context', 'list')).stdout).toContain(address)
    const { stdout, stderr } = await fairlead('version')
    expect(stdout).toMatch(/^client 0\.1\.0\nhub {4}0\.1\.0 \(started \d+s ago, NATS connected/)
    expect(stderr).toBe('')
  })

  test('sees nothing yet, and is told what to do', async () => {
    expect(await fairlead('status')).toMatchObject({
      code: 0,
      stdout: 'No applications. Make one by: fairlead apply -f FILE\n',
    })
    expect(await fairlead('get', 'clusters')).toMatchObject({ code: 0, stdout: '', stderr: 'No clusters.\n' })
  })

  test('registers a cluster and gets the command to run; the same name again is a conflict', async () => {
    const { code, stdout, stderr } = await fairlead('cluster', 'register', 'eu', '--label', 'env=prod')
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('(59m)') })
    expect(stdout).toMatch(/^helm install fairlead-agent charts\/agent \\\n/)
    expect(stdout).toContain(`--set hub.address=${address} `)
    expect(stdout).toMatch(
      /--set hub\.caPin=sha256:[0-9a-f]{64} \\\n {2}--set join\.token=\S+ \\\n {2}--set rbac\.clusterAdmin=true\n$/,
    )
    expect((await fairlead('cluster', 'register', 'eu')).code).toBe(6)
    expect((await fairlead('cluster', 'register', 'No Name')).code).toBe(2)
    const token = await fairlead('cluster', 'token', 'eu', '--token-only')
    expect(token.stdout.trim()).not.toBe(/join\.token=(\S+)/.exec(stdout)?.[1])
    expect((await fairlead('cluster', 'get', 'eu')).stdout).toMatch(/\neu +Pending +never +env=prod +- +\d+s\n$/)
  })

  test('is told every mistake in a definition, with the line of the field', async () => {
    const wrong = definitions(shop.url)
      .replace('path: web', 'path: /etc')
      .replace('pollInterval: 1s', 'polInterval: 1s')
    const { code, stdout, stderr } = await start(['apply', '-f', '-'], wrong).result
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: -:4: Repository\/shop: spec\.polInterval: .+$/m)
    expect(stderr).toMatch(/^error: -:10: Application\/web: spec\.source\.path: .+$/m)
    expect((await fairlead('get', 'repositories')).stderr).toBe('No repositories.\n')
  })

  test('can apply the examples of the documentation', async () => {
    const docs = path.join(import.meta.dirname, '..', '..', 'docs')
    for (const page of ['user/getting-started.md', 'reference/definitions.md']) {
      const blocks = [...(await readFile(path.join(docs, page), 'utf8')).matchAll(/```yaml\n(.*?)```/gs)]
      const examples = blocks.map(([, yaml]) => yaml ?? '').filter((yaml) => yaml.includes('kind:'))
      expect(examples, page).not.toHaveLength(0)
      for (const yaml of examples) {
        const { code, stderr } = await start(['apply', '--dry-run', '-f', '-'], yaml).result
        expect({ page, code, stderr }).toEqual({ page, code: 0, stderr: '' })
      }
    }
  })

  test('applies definitions: dry, created, unchanged, configured', async () => {
    const apply = (...args: string[]) => start(['apply', '-f', '-', ...args], definitions(shop.url)).result
    expect(await apply('--dry-run')).toMatchObject({
      code: 0,
      stdout: 'repository/shop created (dry run)\napplication/web created (dry run)\n',
    })
    expect(await apply()).toMatchObject({ code: 0, stdout: 'repository/shop created\napplication/web created\n' })
    expect(await apply()).toMatchObject({ code: 0, stdout: 'repository/shop unchanged\napplication/web unchanged\n' })
    const changed = start(['apply', '-f', '-'], definitions(shop.url).replace('1s', '2s')).result
    expect(await changed).toMatchObject({ stdout: 'repository/shop configured\napplication/web unchanged\n' })
  })

  test('sees the newest commit rendered (in a worker thread beside the bundle) and placed', async () => {
    const commit = shop.head()
    await waitFor(
      'the commit to be rendered',
      async (see) => {
        const { stdout } = await fairlead('get', 'application', 'web')
        see(stdout)
        return stdout.includes(`main@sha1:${commit.slice(0, 8)}`) && stdout.includes('Rendered')
      },
      { timeoutMs: 20_000, alive: [hub] },
    )
    expect((await fairlead('repository', 'list')).stdout).toMatch(/\nshop +http\S+ +\d+s ago +Ready +\d+s\n$/)
    const { stdout } = await fairlead('status')
    expect(stdout).toMatch(new RegExp(`^web +eu \\(pending\\) +-> main@sha1:${commit.slice(0, 8)} +`, 'm'))
    expect(stdout).toMatch(/^ {2}eu is Pending: registered \d+[sm] ago, no agent has joined yet$/m)
    expect((await fairlead('status', '--exit-code')).code).toBe(7)
    expect((await fairlead('why', 'web')).stdout).toContain('web on eu: the cluster is Pending')
  })

  test('is told why a commit cannot be rendered, with file and line', async () => {
    shop.commit({ 'web/bad.yaml': 'apiVersion: v1\nkind: [\n' })
    expect((await fairlead('repository', 'refresh', 'shop')).stdout).toBe('repository/shop refreshing\n')
    await waitFor(
      'the problem to be told',
      async (see) => {
        const { stdout } = await fairlead('status')
        see(stdout)
        return /^ {2}web: \(web\/bad\.yaml:\d+\): InvalidYaml: .+ \[\d+s\]$/m.test(stdout)
      },
      { timeoutMs: 20_000, alive: [hub] },
    )
    shop.remove('web/bad.yaml')
  })

  test('suspends an application and lets it go on', async () => {
    expect((await fairlead('application', 'suspend', 'web')).stdout).toBe('application/web suspended\n')
    expect((await fairlead('application', 'list')).stdout).toMatch(/^web .* Suspended[, ]/m)
    expect((await fairlead('application', 'resume', 'web')).stdout).toBe('application/web resumed\n')
    expect((await fairlead('application', 'list')).stdout).not.toContain('Suspended')
    expect(await fairlead('application', 'suspend', 'nobody')).toMatchObject({ code: 3, stdout: '' })
  })

  test('ends --watch by Ctrl-C without a trace', async () => {
    const { child, result } = start(['status', '--watch'])
    child.stdout.once('data', () => child.kill('SIGINT'))
    expect(await result).toMatchObject({ code: 0, stderr: '' })
  })

  test('may cut the output off', async () => {
    const command = `${process.execPath} ${path.join(dist, 'fairlead.js')} status --watch -o json | head -c 10`
    const child = spawn('bash', ['-o', 'pipefail', '-c', command], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.once('data', () => void fairlead('cluster', 'label', 'eu', `seen=${Date.now() % 1000}`))
    const stderr = await text(child.stderr)
    expect(stderr).toBe('')
  })

  test('labels a cluster out of the placement, and the application goes with its last cluster', async () => {
    expect((await fairlead('cluster', 'label', 'eu', 'env-', 'tier=test', 'seen-')).stdout).toBe(
      'cluster/eu labelled: tier=test\n',
    )
    expect((await fairlead('repository', 'delete', 'shop')).code).toBe(6)
    expect((await fairlead('cluster', 'remove', 'eu', '--yes')).code).toBe(0)
    const gone = await start(['delete', '-f', '-', '--timeout', '20s'], definitions(shop.url)).result
    expect(gone).toMatchObject({ code: 0, stderr: '' })
    expect(gone.stdout).toMatch(/repository\/shop deleted\n$/)
    expect((await fairlead('status', '-a', 'web')).code).toBe(3)
  })
})

describe('a hub', () => {
  test('stops at SIGTERM within ten seconds, and keeps what it knows and its token', async () => {
    expect((await fairlead('cluster', 'register', 'us', '--token-only')).code).toBe(0)
    const before = await readFile(configFile, 'utf8')
    const { code } = await hub.stop({ timeoutMs: 10_000 })
    expect(code).toBe(0)
    expect((await fairlead('status')).code).toBe(4)
    await startHub()
    expect(await readFile(configFile, 'utf8')).toBe(before)
    expect((await fairlead('get', 'clusters', '-o', 'name')).stdout).toBe('cluster/us\n')
  })

  test('says what is wrong with its settings and does not start', async () => {
    const { code, stderr } = await fairlead('hub', '--stale-after', 'soon')
    expect(code).toBe(2)
    expect(stderr).toMatch(/^error: --stale-after/)
  })
})
