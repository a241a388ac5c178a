// A hub that follows a repository for definitions: what is pushed there runs, what is wrong stops only itself, what goes
// leaves with care, and nothing of it is changed by hand.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { waitFor } from '../harness/wait.ts'
import { runs } from './fleet-status.ts'
import { applicationDefinition, configMap, configMapReference, repositoryDefinition } from './manifests.ts'

let fleet: Fleet
let definitions: GitRepository
let shop: GitRepository

const names = ['a', 'b', 'c'] as const
const app = (name: string) => applicationDefinition(name, { repository: 'shop', namespace: 'default' })
const find = (name: string) => fleet.getCluster('eu').cluster.admin.find(configMapReference(name))

async function waitUntilRuns(...wanted: readonly string[]): Promise<void> {
  const commit = shop.head()
  await fleet.waitForStatus(`${wanted.join(', ')} to run`, (status) =>
    wanted.every((one) => runs(status, one, 'eu', commit)),
  )
}

beforeAll(async () => {
  fleet = await startFleet()
  await fleet.addCluster('eu')
  shop = fleet.git.createRepository('shop')
  shop.commit(Object.fromEntries([...names, 'd'].map((name) => [`${name}/config.yaml`, configMap(name, { v: '1' })])))
  definitions = fleet.git.createRepository('fleet')
  definitions.commit({
    'apps/shop.yaml': repositoryDefinition('shop', shop.url),
    ...Object.fromEntries(names.map((name) => [`apps/${name}.yaml`, app(name)])),
  })
  await fleet.apply(repositoryDefinition('fleet', definitions.url))
})

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]()
})

describe('a repository of definitions', () => {
  test('is followed after one command, which may be given again', async () => {
    const first = await fleet.cli('bootstrap', 'fleet', '--ref', 'main', '--path', 'apps')
    expect(first).toContain(`is taken over at ${definitions.head().slice(0, 12)}`)
    await waitUntilRuns(...names)
    expect(await fleet.cli('bootstrap', 'fleet', '--ref', 'main', '--path', 'apps')).toContain(
      'repository/fleet unchanged',
    )
  })

  test('labels clusters, which places applications there, and says where a label is changed', async () => {
    const cluster = JSON.stringify({
      apiVersion: 'fairlead.dev/v1alpha1',
      kind: 'Cluster',
      metadata: { name: 'eu', labels: { tier: 'edge' } },
    })
    shop.commit({ 'e/config.yaml': configMap('e', { v: '1' }) })
    definitions.commit({
      'apps/eu.yaml': `${cluster}\n`,
      'apps/e.yaml': applicationDefinition('e', {
        repository: 'shop',
        namespace: 'default',
        matchLabels: { tier: 'edge' },
      }),
    })
    await waitUntilRuns('e')
    const refused = await fleet.run('cluster', 'label', 'eu', 'tier=core')
    expect(refused).toMatchObject({ code: 6, stderr: expect.stringContaining('apps/eu.yaml:1 of Repository/fleet') })
    definitions.commit({ 'apps/eu.yaml': undefined })
    await waitFor('e to leave with the label', async () => (await find('e')) === undefined)
    definitions.commit({ 'apps/e.yaml': undefined })
    await waitFor('e to be forgotten', async () => !(await fleet.cli('get', 'applications')).includes('e '))
  })

  test('is where what comes from there is changed: by hand it is refused, with file and line', async () => {
    const applied = await fleet.apply(app('a').replace('"default"', '"other"')).catch(String)
    expect(applied).toContain('Application/a: comes from Git: change it in apps/a.yaml:2 of Repository/fleet')
    const deleted = await fleet.run('delete', 'application', 'a')
    expect(deleted).toMatchObject({ code: 6, stderr: expect.stringContaining('apps/a.yaml:2 of Repository/fleet') })
    expect(await find('a')).toBeDefined()
  })

  test('stops only what is wrong, through a restart of the hub, and tells until it is right', async () => {
    definitions.commit({ 'apps/a.yaml': app('a').replace('placement', 'placment'), 'apps/d.yaml': app('d') })
    await waitUntilRuns('a', 'b', 'c', 'd')
    const told = /repository fleet, definitions: \(apps\/a\.yaml:2\): InvalidArgument: Application\/a: spec\.placment/
    expect(await fleet.cli('status')).toMatch(told)
    expect(await fleet.run('bootstrap', 'fleet')).toMatchObject({
      code: 8,
      stdout: expect.stringContaining('problem: (apps/a.yaml:2): InvalidArgument'),
    })
    await fleet.stopHub()
    definitions.commit({ 'apps/d.yaml': '{' })
    await fleet.startHub()
    await waitFor('the file to be told', async (see) => {
      const { stdout } = await fleet.run('status')
      see(stdout)
      return /\(apps\/d\.yaml:\d+\): InvalidArgument: not valid YAML/.test(stdout)
    })
    expect(await find('d')).toBeDefined()
    definitions.commit({ 'apps/a.yaml': app('a'), 'apps/d.yaml': app('d') })
    await waitFor('nothing to be told', async () => !(await fleet.cli('status')).includes('definitions:'))
  })

  test('takes along what leaves it, and holds what would be too much', async () => {
    definitions.remove('apps/d.yaml')
    await waitFor('ConfigMap d to go', async () => (await find('d')) === undefined)
    definitions.forcePush({ 'apps/shop.yaml': repositoryDefinition('shop', shop.url), 'apps/a.yaml': app('a') })
    await waitFor('what is held to be told', async (see) => {
      const status = await fleet.cli('status')
      see(status)
      return ['b', 'c'].every((name) => status.includes(`fairlead delete application ${name}`))
    })
    expect([await find('b'), await find('c')]).not.toContain(undefined)
    await fleet.cli('delete', 'application', 'c', '--wait')
    expect([await find('a'), await find('b')]).not.toContain(undefined)
    expect(await find('c')).toBeUndefined()
  })

  test('is followed no more after one command, and all stays', async () => {
    await fleet.cli('unbootstrap', 'fleet')
    definitions.commit({ 'apps/a.yaml': undefined, 'apps/b.yaml': app('b') })
    await fleet.cli('repository', 'refresh', 'fleet')
    await waitUntilRuns('a', 'b')
    expect(await fleet.cli('status')).not.toContain('definitions:')
    await fleet.cli('delete', 'application', 'a', '--wait')
    expect(await find('a')).toBeUndefined()
  })
})
