// A repository that cannot be read changes nothing on any cluster: the last good state stays, the status says why and
// since when, and it goes on by itself. Nothing is ever deleted because something could not be read.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { timestampMs } from '@bufbuild/protobuf/wkt'
import type { Problem } from '@fairlead/proto/common'
import type { FleetStatus } from '@fairlead/proto/fleet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { type GitRepository, type GitServer, startGitServer } from '../harness/git-server.ts'
import { getField, type KubeObject } from '../harness/kube-client.ts'
import { waitFor } from '../harness/wait.ts'
import { connectionOf, problemsOf, repositoryProblems, runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
/** A second host, which hangs from the first minute on: to notice that takes the hub its time. */
let slowHost: GitServer
const repositories = new Map<string, GitRepository>()
const startedAt = Date.now()

/** Each has a repository, and an application of the same name in a folder of the same name, with one ConfigMap of that name. */
const names = ['away', 'hanging', 'emptied', 'rewritten', 'deleted', 'pathless', 'refless']

beforeAll(async () => {
  fleet = await startFleet()
  slowHost = await startGitServer()
  await fleet.addCluster('eu')
  const definitions = names.map((name) => {
    const host = name === 'hanging' ? slowHost : fleet.git
    const repository = host.createRepository(name)
    repository.commit({ [`${name}/config.yaml`]: configMap(name, { version: '1' }), 'readme.txt': name })
    repositories.set(name, repository)
    return (
      repositoryDefinition(name, repository.url) +
      applicationDefinition(name, { repository: name, namespace: 'default' })
    )
  })
  await fleet.apply(definitions.join(''))
  await waitUntilAllRun(names)
  await slowHost.setFault('hang')
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
  await slowHost?.stop()
})

function getRepository(name: string): GitRepository {
  const found = repositories.get(name)
  if (!found) throw new Error(`there is no repository ${name}`)
  return found
}

async function waitUntilAllRun(wanted: readonly string[]): Promise<void> {
  await fleet.waitForStatus(`${wanted.join(', ')} to run`, (status) =>
    wanted.every((name) => runs(status, name, 'eu', getRepository(name).head())),
  )
}

const find = (name: string) => fleet.getCluster('eu').cluster.admin.find(configMapReference(name))

async function get(name: string): Promise<KubeObject> {
  return await fleet.getCluster('eu').cluster.admin.get(configMapReference(name))
}

function allProblems(status: FleetStatus, name: string): Problem[] {
  return [...repositoryProblems(status, name), ...problemsOf(status, name)]
}

/** Waits until the status says of a repository, or of the application that reads it, that this is wrong. */
async function waitForProblem(name: string, code: string, timeoutMs = 30_000): Promise<Problem> {
  const told = (status: FleetStatus) => allProblems(status, name).find((problem) => problem.code === code)
  const status = await fleet.waitForStatus(`the problem ${code} of ${name}`, (state) => told(state) !== undefined, {
    timeoutMs,
  })
  const problem = told(status)
  if (!problem) throw new Error(`${name} has no problem ${code}`)
  return problem
}

/** Breaks something, and checks that it is told, since when, and that the object of the application is not touched. */
async function expectToStay(name: string, code: string, fault: () => unknown): Promise<void> {
  const before = await get(name)
  const brokenAt = Date.now()
  await fault()
  const problem = await waitForProblem(name, code)
  expect(problem.message).not.toBe('')
  expect(problem.since && timestampMs(problem.since)).toBeGreaterThanOrEqual(brokenAt)
  expect(problem.since && timestampMs(problem.since)).toBeLessThanOrEqual(Date.now())
  expect(await fleet.cli('status')).toMatch(new RegExp(`${name}.*${code}: .+ \\[\\d+s\\]$`, 'm'))
  // Another look at Git, at the least, before it is said that nothing happened.
  await fleet.cli('repository', 'refresh', name)
  await fleet.waitForStatus('the last good state to be shown', (status) =>
    status.deployments.some((one) => one.application === name && !one.removing && one.live !== undefined),
  )
  const after = await get(name)
  expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion)
}

async function waitForVersion(name: string, version: string): Promise<void> {
  await waitFor(
    `ConfigMap ${name} to be at version ${version}`,
    async () => getField(await find(name), 'data.version') === version,
    { timeoutMs: 60_000, logs: [fleet.hub] },
  )
  await fleet.waitForStatus(`no problem of ${name}`, (status) => allProblems(status, name).length === 0)
}

describe('a Git host', () => {
  test('that refuses connections changes nothing, and is followed again when it is back', async () => {
    await expectToStay('away', 'RepositoryUnreachable', () => fleet.git.setFault('down'))
    await fleet.git.setFault('none')
    getRepository('away').commit({ 'away/config.yaml': configMap('away', { version: '2' }) })
    await waitForVersion('away', '2')
  })

  test('that answers with errors changes nothing, and is followed again when it works', async () => {
    await expectToStay('away', 'RepositoryUnreachable', () => fleet.git.setFault('error'))
    getRepository('away').commit({ 'away/config.yaml': configMap('away', { version: '3' }) })
    await fleet.git.setFault('none')
    await waitForVersion('away', '3')
  })

  test('that wants credentials changes nothing, and is followed when they are given', async () => {
    const file = path.join(fleet.dataDir, 'credentials', 'away')
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, 'dev:wrong')
    const { url } = getRepository('away')
    await fleet.apply(repositoryDefinition('away', url, { credentials: { from: `file:${file}` } }))
    await expectToStay('away', 'RepositoryAuthFailed', () => {
      fleet.git.credentials = { username: 'dev', password: 'right' }
    })
    const shown = `${await fleet.cli('status')}${await fleet.cli('status', '-o', 'json')}`
    expect(shown).not.toContain('dev:wrong')
    getRepository('away').commit({ 'away/config.yaml': configMap('away', { version: '4' }) })
    await writeFile(file, 'dev:right')
    await waitForVersion('away', '4')
    fleet.git.credentials = undefined
  })
})

describe('a hub', () => {
  test('that is started again while the Git host is away changes nothing, and follows it when it is back', async () => {
    const before = await Promise.all(['away', 'rewritten', 'refless'].map(get))
    await expectToStay('away', 'RepositoryUnreachable', () => fleet.git.setFault('down'))
    await fleet.stopHub()
    await fleet.startHub()
    await fleet.apply(repositoryDefinition('away', getRepository('away').url))
    await waitForProblem('away', 'RepositoryUnreachable')
    await fleet.waitForStatus('eu to be Online', (status) => connectionOf(status, 'eu') === 'ONLINE')
    const after = await Promise.all(['away', 'rewritten', 'refless'].map(get))
    expect(after.map(({ metadata }) => metadata.resourceVersion)).toEqual(
      before.map(({ metadata }) => metadata.resourceVersion),
    )
    await fleet.git.setFault('none')
    getRepository('away').commit({ 'away/config.yaml': configMap('away', { version: '5' }) })
    await waitForVersion('away', '5')
  })
})

describe('a repository', () => {
  test('that loses its last branch changes nothing, and is followed when it has one again', async () => {
    const repository = getRepository('emptied')
    await expectToStay('emptied', 'RepositoryEmpty', () => repository.deleteBranch('main'))
    repository.commit({ 'emptied/config.yaml': configMap('emptied', { version: '2' }) })
    await waitForVersion('emptied', '2')
  })

  test('that is empty from the start is told, and followed from its first commit on', async () => {
    const repository = fleet.git.createRepository('new')
    repositories.set('new', repository)
    await fleet.apply(
      repositoryDefinition('new', repository.url) +
        applicationDefinition('new', { repository: 'new', namespace: 'default' }),
    )
    await waitForProblem('new', 'RepositoryEmpty')
    repository.commit({ 'new/config.yaml': configMap('new', { version: '1' }) })
    await waitForVersion('new', '1')
  })

  test('that is deleted changes nothing, and is followed when it is made again', async () => {
    const repository = getRepository('deleted')
    await expectToStay('deleted', 'RepositoryNotFound', () => repository.delete())
    repository.make()
    repository.forcePush({ 'deleted/config.yaml': configMap('deleted', { version: '2' }) })
    await waitForVersion('deleted', '2')
  })

  test('whose history is rewritten is followed, and what stays in it is not touched', async () => {
    const before = await get('rewritten')
    const commit = getRepository('rewritten').forcePush({
      'rewritten/config.yaml': configMap('rewritten', { version: '1' }),
      'rewritten/more.yaml': configMap('rewritten-more', { version: '1' }),
    })
    await fleet.waitForStatus('the rewritten history', (status) => runs(status, 'rewritten', 'eu', commit))
    expect(await find('rewritten-more')).toBeDefined()
    expect((await get('rewritten')).metadata.resourceVersion).toBe(before.metadata.resourceVersion)
  })

  test('that is set back to an earlier commit brings that back', async () => {
    const repository = getRepository('rewritten')
    const before = repository.head()
    repository.commit({ 'rewritten/config.yaml': configMap('rewritten', { version: '2' }) })
    await waitForVersion('rewritten', '2')
    repository.reset(before)
    await waitForVersion('rewritten', '1')
  })

  test('without the path changes nothing, and is followed when the path is back', async () => {
    const repository = getRepository('pathless')
    await expectToStay('pathless', 'PathNotFound', () => repository.remove('pathless'))
    repository.commit({ 'pathless/config.yaml': configMap('pathless', { version: '2' }) })
    await waitForVersion('pathless', '2')
  })

  test('whose folder holds no manifest any more changes nothing', async () => {
    const repository = getRepository('pathless')
    await expectToStay('pathless', 'InvalidManifest', () =>
      repository.commit({ 'pathless/config.yaml': undefined, 'pathless/readme.txt': 'moved' }),
    )
    repository.commit({ 'pathless/config.yaml': configMap('pathless', { version: '3' }) })
    await waitForVersion('pathless', '3')
  })

  test('without the ref changes nothing, and is followed when the ref is there', async () => {
    const repository = getRepository('refless')
    await expectToStay('refless', 'RefNotFound', () =>
      fleet.apply(applicationDefinition('refless', { repository: 'refless', namespace: 'default', ref: 'release' })),
    )
    repository.commit({ 'refless/config.yaml': configMap('refless', { version: '2' }) }, { branch: 'release' })
    await waitForVersion('refless', '2')
  })
})

describe('a Git host that accepts connections and never answers', () => {
  test('changes nothing, holds up no other repository, and is followed again when it answers', async () => {
    const problem = await waitForProblem('hanging', 'RepositoryUnreachable', 120_000)
    expect(problem.since && timestampMs(problem.since)).toBeGreaterThanOrEqual(startedAt)
    expect(getField(await get('hanging'), 'data.version')).toBe('1')
    await slowHost.setFault('none')
    getRepository('hanging').commit({ 'hanging/config.yaml': configMap('hanging', { version: '2' }) })
    await waitForVersion('hanging', '2')
  })
})

describe('in all of this', () => {
  test('the agent has deleted nothing but what a readable commit no longer declares', () => {
    const deleted = fleet
      .getCluster('eu')
      .agentRequests({ verbs: ['delete', 'deletecollection'], resource: 'configmaps' })
    const workloads = deleted.filter(({ namespace }) => namespace === 'default').map(({ name }) => name)
    expect(workloads).toEqual([])
  })
})
