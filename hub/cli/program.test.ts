// Whole command lines against a hub's gRPC API over TLS, as the contract describes it.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { create, fromJson } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  ApprovePruneResponseSchema,
  GetApplicationResponseSchema,
  ListApplicationsResponseSchema,
  PreviewApplicationResponseSchema,
} from '@fairlead/proto/applications'
import { type RegisterClusterRequest, RegisterClusterResponseSchema } from '@fairlead/proto/clusters'
import { ConnectionState, ProblemSchema } from '@fairlead/proto/common'
import { type ApplyDefinitionsRequest, ApplyDefinitionsResponseSchema } from '@fairlead/proto/definitions'
import {
  FleetStatusSchema,
  GetFleetStatusResponseSchema,
  GetHubStatusResponseSchema,
  WatchFleetStatusResponseSchema,
} from '@fairlead/proto/fleet'
import { ApplicationReportSchema } from '@fairlead/proto/report'
import { openPki } from '@fairlead/server/pki/pki'
import { AppError } from '@fairlead/shared/errors'
import { ProblemsError } from '@fairlead/shared/grpc-status'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CliResult, type RunOptions, runCli, writeTestContext } from './test-support/run-cli.ts'
import { readyFleet, sampleFleet } from './test-support/sample-fleet.ts'
import { startTestHub, type TestHub, type TestHubAnswers, type TestTls } from './test-support/test-hub.ts'

let tls: TestTls
let folder: string
let hub: TestHub | undefined

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'fairlead-cli-'))
  tls = await openPki(path.join(folder, 'pki'), [])
})
afterEach(() => hub?.stop())
afterAll(async () => {
  hub?.stop()
  await rm(folder, { recursive: true })
})

/** Runs a command line against a hub with these answers. */
async function run(args: readonly string[], answers: TestHubAnswers, options: RunOptions = {}): Promise<CliResult> {
  hub = await startTestHub(tls, answers)
  return await runCli(args, { config: writeTestContext(hub, folder), ...options })
}

const statusAnswers = (fleet: typeof sampleFleet): TestHubAnswers => ({
  fleet: {
    getFleetStatus: async () => create(GetFleetStatusResponseSchema, { status: fleet(Date.now()) }),
    async *watchFleetStatus() {
      yield create(WatchFleetStatusResponseSchema, { status: fleet(Date.now()) })
    },
  },
})

describe('exit codes and errors', () => {
  test.each([
    [['status', '--nonsense'], /^error: unknown option '--nonsense'/],
    [['nonsense'], /^error: unknown command 'nonsense'/],
    [['cluster', 'get'], /^error: missing required argument 'name'/],
    [['status', '-o', 'xml'], /^error: option '-o, --output <format>' argument 'xml' is invalid/],
    [['cluster', 'register', 'a', '--ttl', 'soon'], /"soon" is not a duration/],
    [['get', 'pods'], /^error: there is no kind "pods"/],
    [['apply', '-f', '/nonexistent.yaml'], /^error: cannot read \/nonexistent.yaml: no such file or folder/],
    [['status'], /^error: no hub is known/],
  ])('%j is a usage error: 2, told on standard error', async (args, message) => {
    const result = await runCli(args)
    expect(result).toMatchObject({ code: 2, stdout: '' })
    expect(result.stderr).toMatch(message)
  })

  test('--help and --version succeed', async () => {
    expect(await runCli(['--help'])).toMatchObject({ code: 0, stderr: '' })
    expect(await runCli(['--version'])).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([
    ['NotFound', 3],
    ['Unavailable', 4],
    ['Unauthenticated', 5],
    ['PermissionDenied', 5],
    ['FailedPrecondition', 6],
    ['AlreadyExists', 6],
    ['RepositoryUnreachable', 1],
  ] as const)('%s of the hub ends with %i and its words', async (code, exit) => {
    const removeCluster = async () => {
      throw new AppError(code, 'these words')
    }
    const result = await run(['cluster', 'remove', 'eu', '--yes'], { clusters: { removeCluster } })
    expect(result).toMatchObject({ code: exit, stdout: '' })
    expect(result.stderr).toMatch(/^error: these words\n/)
  })

  test('cluster remove asks nobody: without --yes it refuses where there is no terminal', async () => {
    const result = await runCli(['cluster', 'remove', 'eu'])
    expect(result).toMatchObject({ code: 2, stdout: '' })
    expect(result.stderr).toContain('--yes')
  })

  test('a defect in the hub is 1, and tells where to look', async () => {
    const removeCluster = async () => {
      throw new Error('secret detail')
    }
    const { code, stderr } = await run(['cluster', 'remove', 'eu', '--yes'], { clusters: { removeCluster } })
    expect(code).toBe(1)
    expect(stderr).toBe(
      'error: a defect in the hub; its log has more\nhint: this is a defect in Fairlead; the log of the hub has the details\n',
    )
  })

  test('a hub that is away is 4, with a hint', async () => {
    const config = writeTestContext({ address: '127.0.0.1:1', caPem: tls.caPem, token: '' }, folder)
    const result = await runCli(['status'], { config })
    expect(result).toMatchObject({ code: 4, stdout: '' })
    expect(result.stderr).toMatch(
      /^error: the hub at 127.0.0.1:1 cannot be reached: connection refused\nhint: is the hub running/,
    )
  })

  test('a hub with another CA is 4 and is not talked to', async () => {
    const other = await openPki(path.join(folder, 'other-pki'), [])
    hub = await startTestHub(tls, {})
    const config = writeTestContext({ ...hub, caPem: other.caPem }, folder)
    const result = await runCli(['status'], { config })
    expect(result.code).toBe(4)
    expect(result.stderr).toContain("does not present a certificate of this context's CA")
  })

  test('a hub whose certificate does not name the address is 4', async () => {
    hub = await startTestHub(tls, {}, '127.0.0.2')
    const result = await runCli(['status'], { config: writeTestContext(hub, folder) })
    expect(result.code).toBe(4)
    expect(result.stderr).toMatch(/does not present a certificate.*127\.0\.0\.2/)
  })

  test('a wrong token is 5', async () => {
    hub = await startTestHub(tls, {})
    const result = await runCli(['status'], { config: writeTestContext({ ...hub, token: 'wrong' }, folder) })
    expect(result).toMatchObject({ code: 5, stdout: '' })
    expect(result.stderr).toContain('hint: the hub does not know the token of this context')
  })
})

describe('cluster register', () => {
  const requests: RegisterClusterRequest[] = []
  const answers: TestHubAnswers = {
    clusters: {
      registerCluster: async (request) => {
        requests.push(request)
        return create(RegisterClusterResponseSchema, {
          cluster: { name: request.name, labels: request.labels },
          join: {
            token: 'flj_secret',
            expiresAt: timestampFromMs(Date.now() + 3_600_000),
            hubAddress: 'hub.example.com:7443',
            caPin: 'sha256:abc',
          },
        })
      },
    },
  }

  test('prints exactly the command to run, and what to review beside it', async () => {
    const { code, stdout, stderr } = await run(
      ['cluster', 'register', 'eu', '--label', 'env=prod', '-l', 'a=b=c', '--ttl', '2h'],
      answers,
    )
    expect(code).toBe(0)
    expect(requests.at(-1)).toMatchObject({
      name: 'eu',
      labels: { env: 'prod', a: 'b=c' },
      tokenTtl: { seconds: 7_200n },
    })
    expect(stdout).toBe(`helm install fairlead-agent charts/agent \\
  --namespace fairlead-system --create-namespace \\
  --set hub.address=hub.example.com:7443 \\
  --set hub.caPin=sha256:abc \\
  --set join.token=flj_secret \\
  --set rbac.clusterAdmin=true
`)
    expect(stderr).toContain('Review rbac.clusterAdmin=true')
  })

  test('can name the namespaces instead, quoted for a shell', async () => {
    const { stdout } = await run(['cluster', 'register', 'eu', '--namespaces', 'shop,web'], answers)
    expect(stdout).toContain("--set 'rbac.namespaces={shop,web}'\n")
    expect(stdout).not.toContain('clusterAdmin')
  })

  test('gives scripts the token or JSON', async () => {
    expect(await run(['cluster', 'register', 'eu', '--token-only'], answers)).toMatchObject({
      stdout: 'flj_secret\n',
      stderr: '',
    })
    const { stdout } = await runCli(['cluster', 'register', 'eu', '-o', 'json'], {
      config: writeTestContext(hub as TestHub, folder),
    })
    expect(JSON.parse(stdout)).toMatchObject({
      cluster: { name: 'eu' },
      join: { token: 'flj_secret', caPin: 'sha256:abc' },
    })
  })
})

describe('apply', () => {
  const documents = `kind: Repository\nmetadata: {name: shop}\n---\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    path: /x\n`

  test('sends every document with its place and prints what became of each', async () => {
    let seen: ApplyDefinitionsRequest | undefined
    const applyDefinitions = async (request: ApplyDefinitionsRequest) => {
      seen = request
      return create(ApplyDefinitionsResponseSchema, {
        results: [
          { kind: 'Repository', name: 'shop', action: 'created' },
          { kind: 'Application', name: 'web', action: 'configured', warnings: ['the placement selects no cluster'] },
        ],
      })
    }
    const result = await run(['apply', '-f', '-'], { definitions: { applyDefinitions } }, { stdin: documents })
    expect(result).toMatchObject({
      code: 0,
      stdout: 'repository/shop created\napplication/web configured\n',
      stderr: 'warning: -:4: application/web: the placement selects no cluster\n',
    })
    expect(seen?.documents.map(({ source }) => source?.line)).toEqual([1, 4])
    expect(JSON.parse(seen?.documents[1]?.json ?? '')).toEqual({
      kind: 'Application',
      metadata: { name: 'web' },
      spec: { source: { path: '/x' } },
    })
  })

  test('prints every problem with file, line of the field, object and reason', async () => {
    const file = path.join(folder, 'bad.yaml')
    await writeFile(file, documents)
    const applyDefinitions = async () => {
      throw new ProblemsError('InvalidArgument', [
        { file, line: 1, object: 'Repository/shop', field: 'spec.url', message: 'is required' },
        { file, line: 4, object: 'Application/web', field: 'spec.source.path', message: 'must not be absolute' },
      ])
    }
    const result = await run(['apply', '-f', file, '--dry-run'], { definitions: { applyDefinitions } })
    expect(result).toMatchObject({
      code: 2,
      stdout: '',
      stderr: `error: ${file}:1: Repository/shop: spec.url: is required\nerror: ${file}:8: Application/web: spec.source.path: must not be absolute\n`,
    })
  })

  test('takes the YAML and JSON files of a folder, and of those below it only when asked', async () => {
    const seen: string[][] = []
    const applyDefinitions = async (request: ApplyDefinitionsRequest) => {
      seen.push(request.documents.map(({ source }) => path.basename(source?.file ?? '')))
      return create(ApplyDefinitionsResponseSchema)
    }
    const config = await mkdtemp(path.join(folder, 'defs-'))
    await writeFile(path.join(config, 'b.yaml'), 'kind: A\n')
    await writeFile(path.join(config, 'a.json'), '{"kind": "A"}')
    await writeFile(path.join(config, 'README.md'), '- no: [')
    const { mkdir } = await import('node:fs/promises')
    await mkdir(path.join(config, 'deep'))
    await writeFile(path.join(config, 'deep', 'c.yml'), 'kind: A\n')
    await run(['apply', '-f', config], { definitions: { applyDefinitions } })
    await runCli(['apply', '-R', '-f', config], { config: writeTestContext(hub as TestHub, folder) })
    expect(seen).toEqual([
      ['a.json', 'b.yaml'],
      ['a.json', 'b.yaml', 'c.yml'],
    ])
  })
})

describe('status', () => {
  test('succeeds whatever the state, unless --exit-code asks', async () => {
    expect((await run(['status'], statusAnswers(sampleFleet))).code).toBe(0)
    const config = writeTestContext(hub as TestHub, folder)
    expect((await runCli(['status', '--exit-code'], { config })).code).toBe(7)
    hub?.stop()
    expect((await run(['status', '--exit-code'], statusAnswers(readyFleet))).code).toBe(0)
  })

  test('-o json is the proto JSON of the fleet and can be read back', async () => {
    const { stdout } = await run(['status', '-o', 'json'], statusAnswers(sampleFleet))
    const status = fromJson(FleetStatusSchema, JSON.parse(stdout))
    expect(status.deployments.map(({ cluster }) => cluster)).toEqual(['eu', 'us'])
    expect(JSON.parse(stdout).deployments[0]).toMatchObject({ sync: 'SYNC_STATE_SYNCED', removing: false })
  })

  test('of one cluster is judged by that cluster alone', async () => {
    const answers = statusAnswers((now) => {
      const fleet = readyFleet(now)
      fleet.clusters = fleet.clusters.slice(0, 1)
      fleet.deployments = fleet.deployments.slice(0, 1)
      return fleet
    })
    expect((await run(['status', '--cluster', 'eu', '--exit-code'], answers)).code).toBe(0)
  })

  test('of a name that nothing bears is 3', async () => {
    expect((await run(['status', '--cluster', 'mars'], statusAnswers(sampleFleet))).code).toBe(3)
    expect(
      (await runCli(['status', '--application', 'x'], { config: writeTestContext(hub as TestHub, folder) })).code,
    ).toBe(3)
  })

  test('--wait returns when everything is ready, through a restart of the hub', async () => {
    let calls = 0
    const result = await run(['status', '--wait', '--timeout', '20s'], {
      fleet: {
        async *watchFleetStatus() {
          calls += 1
          yield create(WatchFleetStatusResponseSchema, {
            status: calls === 1 ? sampleFleet(Date.now()) : readyFleet(Date.now()),
          })
          if (calls === 1) throw new AppError('Unavailable', 'the hub stops')
        },
      },
    })
    expect(result).toMatchObject({ code: 0, stderr: 'the hub stops; waiting for it\n' })
    expect(result.stdout).toContain('Synced')
  })

  test('--wait tells of a hub that ends the stream as it stops and then cannot be reached', async () => {
    let calls = 0
    const result = await run(['status', '--wait', '--timeout', '20s'], {
      fleet: {
        async *watchFleetStatus() {
          calls += 1
          if (calls === 2 || calls === 3) throw new AppError('Unavailable', 'the hub is away')
          yield create(WatchFleetStatusResponseSchema, {
            status: calls === 1 ? sampleFleet(Date.now()) : readyFleet(Date.now()),
          })
        },
      },
    })
    expect(result).toMatchObject({ code: 0, stderr: 'the hub is away; waiting for it\n' })
  })

  test('--wait says what is missing when the time is up', async () => {
    const { code, stderr } = await run(['status', '--wait', '--timeout', '300ms'], statusAnswers(sampleFleet))
    expect(code).toBe(7)
    expect(stderr).toContain(
      'error: the time is up and not everything is Synced and Healthy:\n  web on us: the cluster is Offline',
    )
  })

  test('--watch appends what changed, once, when the output is no terminal, and ends cleanly', async () => {
    const stop = new AbortController()
    const answers: TestHubAnswers = {
      fleet: {
        async *watchFleetStatus() {
          yield create(WatchFleetStatusResponseSchema, { status: sampleFleet(Date.now()) })
          yield create(WatchFleetStatusResponseSchema, { status: sampleFleet(Date.now() + 5_000) })
          yield create(WatchFleetStatusResponseSchema, { status: readyFleet(Date.now()) })
        },
      },
    }
    const onOutput = (text: string) => {
      if (/us .*Synced {2}Healthy/.test(text)) stop.abort()
    }
    const { code, stdout, stderr } = await run(['status', '--watch'], answers, { signal: stop.signal, onOutput })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n').filter((line) => / web {2}eu /.test(line))).toHaveLength(1)
    expect(stdout.split('\n').filter((line) => / web {2}us/.test(line))).toHaveLength(2)
    expect(stdout).not.toContain('\u001b')
  })

  test('--watch redraws a terminal', async () => {
    const stop = new AbortController()
    const onOutput = () => stop.abort()
    const { code, stdout } = await run(['status', '--watch'], statusAnswers(sampleFleet), {
      signal: stop.signal,
      onOutput,
      terminal: true,
    })
    expect(code).toBe(0)
    expect(stdout).toMatch(/^\u001b\[HAPPLICATION/)
  })
})

describe('delete', () => {
  test('of a file takes applications away first, waits, then forgets the repositories', async () => {
    const order: string[] = []
    let left = 2
    const result = await run(
      ['delete', '-f', '-'],
      {
        applications: {
          deleteApplication: async ({ name }) => {
            order.push(`application ${name}`)
            return fromJson((await import('@fairlead/proto/applications')).DeleteApplicationResponseSchema, {
              clusters: ['eu'],
            })
          },
        },
        fleet: {
          getFleetStatus: async () => {
            left -= 1
            order.push(`look ${left}`)
            const status = left > 0 ? sampleFleet(Date.now()) : create(FleetStatusSchema)
            return create(GetFleetStatusResponseSchema, { status })
          },
        },
        repositories: {
          deleteRepository: async ({ name }) => {
            order.push(`repository ${name}`)
            return create((await import('@fairlead/proto/repositories')).DeleteRepositoryResponseSchema)
          },
        },
      },
      { stdin: 'kind: Repository\nmetadata: {name: shop}\n---\nkind: Application\nmetadata: {name: web}\n' },
    )
    expect(order).toEqual(['application web', 'look 1', 'look 0', 'repository shop'])
    expect(result.stdout).toBe(
      'application/web deleting: leaves eu\napplication/web deleted\nrepository/shop deleted\n',
    )
  })
})

describe('adopt', () => {
  const adopt = async (
    answer: Parameters<typeof create<typeof PreviewApplicationResponseSchema>>[1],
    ...more: string[]
  ) => {
    const previewApplication = async () => create(PreviewApplicationResponseSchema, answer)
    return await run(['adopt', 'web', '--cluster', 'eu', '--dry-run', ...more], {
      applications: { previewApplication },
    })
  }

  test('is 1 and says nothing of objects when the agent could not look', async () => {
    const problems = [{ code: 'ArtifactUnavailable', message: 'the artifact cannot be had' }]
    const expected = 'problem: ArtifactUnavailable: the artifact cannot be had\n'
    expect(await adopt({ problems })).toMatchObject({ code: 1, stdout: expected })
    const { code, stdout } = await adopt({ problems }, '-o', 'json')
    expect([code, JSON.parse(stdout)]).toMatchObject([1, { problems }])
  })

  test('shows what the agent could tell and is 1 when that is not all', async () => {
    const changes = [{ object: { version: 'v1', kind: 'ConfigMap', namespace: 'shop', name: 'a' }, action: 'create' }]
    const { code, stdout } = await adopt({ changes, problems: [{ code: 'UnknownKind', message: 'x' }] })
    expect(code).toBe(1)
    expect(stdout).toMatch(/1 create; nothing was changed\nproblem: UnknownKind: x\n$/)
    expect(await adopt({ changes })).toMatchObject({ code: 0 })
  })

  test('is 0 when nothing is declared', async () => {
    expect(await adopt({})).toMatchObject({ code: 0, stdout: 'nothing is declared\n' })
  })
})

describe('approve-prune', () => {
  const approve = async (change: (status: ReturnType<typeof readyFleet>) => void) => {
    const status = readyFleet(Date.now())
    status.deployments = status.deployments.slice(0, 1)
    const [deployment] = status.deployments
    const held = [{ digest: 'ab'.repeat(32), count: 1, reason: 'data', objects: [{ kind: 'Secret', name: 's' }] }]
    if (deployment) deployment.report = create(ApplicationReportSchema, { application: 'web', heldPrunes: held })
    change(status)
    const { stdout, code } = await run(['approve-prune', 'web', '--cluster', 'eu', '--yes'], {
      applications: { approvePrune: async () => create(ApprovePruneResponseSchema) },
      fleet: { getFleetStatus: async () => create(GetFleetStatusResponseSchema, { status }) },
    })
    expect(code).toBe(0)
    return stdout.slice(stdout.indexOf('application/web'))
  }
  const APPROVED = 'application/web: prune abababababab approved on eu\n'

  test('says no more than that it is approved where the agent does it at once', async () => {
    expect(await approve(() => {})).toBe(APPROVED)
  })

  test.each<[string, (status: ReturnType<typeof readyFleet>) => void]>([
    [
      'eu is Offline: it is done when its agent is back',
      ({ deployments: [deployment] }) => Object.assign(deployment ?? {}, { connection: ConnectionState.OFFLINE }),
    ],
    [
      'web is suspended: it is done after "fairlead application resume web"',
      ({ deployments: [deployment] }) => Object.assign(deployment?.report ?? {}, { suspended: true }),
    ],
    [
      'nothing is written: the policy of this cluster pauses the agent',
      ({ clusters: [eu] }) => {
        const message = 'nothing is written: the policy of this cluster pauses the agent'
        eu?.problems.push(create(ProblemSchema, { code: 'PolicyForbids', message }))
      },
    ],
  ])('says that it waits: %s', async (reason, change) => {
    expect(await approve(change)).toBe(`${APPROVED}it waits: ${reason}\n`)
  })
})

describe('application list', () => {
  const stateOf = async (suspend: boolean, problems: readonly { code: string }[]) => {
    const [web] = sampleFleet(0).applications
    if (!web?.spec || !web.status) throw new Error('the sample has an application')
    web.spec.suspend = suspend
    web.status.problems = problems.map((problem) => create(ProblemSchema, problem))
    const listApplications = async () => create(ListApplicationsResponseSchema, { applications: [web] })
    const { stdout } = await run(['application', 'list'], { applications: { listApplications } })
    return stdout.split('\n')[1]
  }

  test('shows the problems of an application that is suspended, too', async () => {
    expect(await stateOf(true, [{ code: 'InvalidYaml' }])).toMatch(/ Suspended, InvalidYaml /)
    expect(await stateOf(true, [{ code: 'InvalidYaml' }, { code: 'UnknownVariable' }])).toMatch(
      / Suspended, 2 problems /,
    )
    expect(await stateOf(true, [])).toMatch(/ Suspended /)
    expect(await stateOf(false, [{ code: 'InvalidYaml' }])).toMatch(/ InvalidYaml /)
    expect(await stateOf(false, [])).toMatch(/ Rendered /)
  })
})

describe('get, version, label', () => {
  test('get application -o yaml is the document that apply takes, with its status', async () => {
    const getApplication = async () =>
      create(GetApplicationResponseSchema, { application: sampleFleet(0).applications[0] as never })
    const { stdout } = await run(['get', 'app', 'web', '-o', 'yaml'], { applications: { getApplication } })
    expect(stdout).toMatch(/^apiVersion: fairlead.dev\/v1alpha1\nkind: Application\nmetadata:\n {2}name: web\n/)
  })

  test('version shows both versions', async () => {
    const getHubStatus = async () => create(GetHubStatusResponseSchema, { version: '9.9.9', natsConnected: true })
    const { stdout } = await run(['version', '-o', 'json'], { fleet: { getHubStatus } })
    expect(JSON.parse(stdout)).toMatchObject({ client: { version: expect.any(String) }, hub: { version: '9.9.9' } })
  })

  test('version tells what waits to be published and how many tokens were refused', async () => {
    const state = {
      version: '9.9.9',
      natsConnected: false,
      outbox: 2,
      refusedTokens: 17n,
      refusedBearers: 3n,
      refusedWebhooks: 2n,
    }
    const getHubStatus = async () => create(GetHubStatusResponseSchema, state)
    const { stdout } = await run(['version'], { fleet: { getHubStatus } })
    expect(stdout).toMatch(
      /NATS away, 2 documents to publish, 17 join tokens refused, 3 bearer tokens refused, 2 webhooks refused/,
    )
  })

  test.each([['env'], ['=x'], ['a=1 a-']])('a label change %j is refused before the hub is asked', async (changes) => {
    expect((await runCli(['cluster', 'label', 'eu', ...changes.split(' ')])).code).toBe(2)
  })
})

describe('contexts', () => {
  test('are made, listed, chosen and shown without their token, in a file that only its owner reads', async () => {
    const config = path.join(folder, 'made', 'config.yaml')
    const token = path.join(folder, 'token')
    await writeFile(token, 'secret-token\n')
    const set = [
      'context',
      'set',
      'prod',
      '--address',
      'hub.example.com:7443',
      '--token-file',
      token,
      '--ca-file',
      path.join(folder, 'pki', 'ca.crt'),
    ]
    expect(await runCli(set, { config })).toMatchObject({ code: 0, stdout: 'context/prod created\n' })
    await runCli(['context', 'set', 'test', '--address', '127.0.0.1:1'], { config })
    expect((await stat(config)).mode & 0o777).toBe(0o600)
    expect((await runCli(['context', 'list'], { config })).stdout).toMatch(/\* +prod +hub.example.com:7443\n +test /)
    expect((await runCli(['context', 'use', 'test'], { config })).code).toBe(0)
    expect((await runCli(['context', 'list'], { config })).stdout).toMatch(/\* +test /)
    expect((await runCli(['context', 'use', 'mars'], { config })).code).toBe(2)
    const shown = await runCli(['context', 'show', '--context', 'prod'], { config })
    expect(shown.stdout).toContain('address: hub.example.com:7443')
    expect(shown.stdout).not.toContain('secret-token')
    expect(await readFile(config, 'utf8')).toContain('secret-token')
  })
})
