// The agent as a process: its settings, its endpoints, and that nothing outside can end it but a signal.
import { mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { takePort } from '@fairlead/e2e/harness/ports'
import { type ManagedProcess, startProcess } from '@fairlead/e2e/harness/process'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'

let cluster: Cluster
const started: ManagedProcess[] = []

beforeAll(async () => {
  cluster = await startCluster({ name: 'process' })
})
afterAll(async () => {
  await Promise.all(started.map((process) => process.killAll()))
  await cluster?.stop()
})

interface Started {
  readonly process: ManagedProcess
  /** Status and JSON of an endpoint. */
  get(endpoint: string): Promise<{ status: number; body: Record<string, unknown> }>
  readonly podRoot: string
}

async function startAgent(settings: Record<string, string>): Promise<Started> {
  const podRoot = makeRunFolder('pod')
  mkdirSync(path.join(podRoot, 'dev'))
  const port = await takePort()
  const process_ = startProcess({
    name: 'agent',
    command: process.execPath,
    args: [path.join(import.meta.dirname, 'main.ts')],
    logFile: path.join(podRoot, 'agent.log'),
    env: {
      FAIRLEAD_HUB_ADDRESS: '127.0.0.1:1',
      FAIRLEAD_HUB_CA_PIN: `sha256:${'0'.repeat(64)}`,
      FAIRLEAD_JOIN_TOKEN: 'flj_secret-token',
      FAIRLEAD_HTTP_PORT: String(port),
      FAIRLEAD_POD_ROOT: podRoot,
      POD_NAMESPACE: 'default',
      ...settings,
    },
  })
  started.push(process_)
  const get = async (endpoint: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${endpoint}`)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  return { process: process_, get, podRoot }
}

test('wrong settings end it with exit code 2 and the name of the variable', async () => {
  const { process } = await startAgent({ FAIRLEAD_HUB_CA_PIN: 'nonsense', KUBECONFIG: cluster.kubeconfigPath })
  expect(await process.exited).toMatchObject({ code: 2 })
  expect(process.tail()).toContain('FAIRLEAD_HUB_CA_PIN')
})

test('with the hub away it lives, is not ready, says why, tells no secret, and stops at once on SIGTERM', async () => {
  const agent = await startAgent({ KUBECONFIG: cluster.kubeconfigPath })
  const alive = { alive: [agent.process], timeoutMs: 20_000 }
  const said = await waitFor(
    'the reason',
    async (see) => {
      const answer = await agent.get('/readyz')
      see(answer)
      return answer.body.problem ? answer : undefined
    },
    alive,
  )
  expect(said.status).toBe(503)
  expect(said.body).toMatchObject({ ready: false, problem: { code: 'Unavailable' } })
  expect(JSON.stringify(said.body)).toContain('127.0.0.1:1')
  expect(readFileSync(path.join(agent.podRoot, 'dev/termination-log'), 'utf8')).toContain('127.0.0.1:1')
  expect((await agent.get('/healthz')).status).toBe(200)
  expect(agent.process.tail(1_000)).not.toContain('secret-token')
  await agent.process.stop()
  expect(await agent.process.exited).toMatchObject({ code: 0 })
  // No part was given up because the time for stopping was over.
  expect(agent.process.tail(1_000)).not.toContain('did not stop in time')
})

test('with the API server away too it lives, and stops as well', async () => {
  const server = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' }
  const agent = await startAgent(server)
  await waitFor('it to answer', async () => (await agent.get('/healthz')).status === 200, { alive: [agent.process] })
  expect((await agent.get('/readyz')).status).toBe(503)
  expect((await agent.get('/elsewhere')).status).toBe(404)
  await agent.process.stop()
  expect(await agent.process.exited).toMatchObject({ code: 0 })
})
