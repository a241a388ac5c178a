// The hub as a whole, in this process: it starts, serves, publishes, and stops; what it has made survives.

import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { create } from '@bufbuild/protobuf'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { getNatsBinary } from '@fairlead/e2e/harness/nats'
import { takePort } from '@fairlead/e2e/harness/ports'
import { startProcess } from '@fairlead/e2e/harness/process'
import { waitFor } from '@fairlead/e2e/harness/wait'
import {
  ClustersService,
  ListClustersRequestSchema,
  RegisterClusterRequestSchema,
  RemoveClusterRequestSchema,
} from '@fairlead/proto/clusters'
import { EnrolmentService, JoinRequestSchema } from '@fairlead/proto/enrolment'
import { FleetService, GetHubStatusRequestSchema } from '@fairlead/proto/fleet'
import { joinProofBytes } from '@fairlead/shared/enrolment-proof'
import { createClient } from '@fairlead/shared/grpc'
import { createNkey } from '@fairlead/shared/nkey'
import { decodeSlice } from '@fairlead/shared/slice'
import { desiredGetSubject } from '@fairlead/shared/subjects'
import * as grpc from '@grpc/grpc-js'
import { load } from 'js-yaml'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type HubConfig, parseHubConfig } from './config.ts'
import { connectAgent } from './link.test-support.ts'
import { type RunningHub, runHub } from './main.ts'

let folder: string
let config: HubConfig
let hub: RunningHub | undefined

beforeEach(async () => {
  folder = makeRunFolder('fairlead-hub')
  config = parseHubConfig(
    {
      dataDir: path.join(folder, 'data'),
      listen: `127.0.0.1:${await takePort()}`,
      natsListen: '127.0.0.1:0',
      natsServer: await getNatsBinary(),
      logLevel: 'silent',
    },
    { FAIRLEAD_CONFIG: path.join(folder, 'config.yaml') },
  )
})

afterEach(async () => {
  await hub?.stop()
  hub = undefined
})

interface Context {
  readonly name: string
  readonly address: string
  readonly caPem: string
  readonly token: string
}

const readContexts = async (): Promise<{ currentContext: string; contexts: Context[] }> =>
  load(await readFile(config.adminContextPath, 'utf8')) as never

async function connectApi(name = 'default') {
  const context = (await readContexts()).contexts.find((each) => each.name === name)
  if (!context) throw new Error(`no context ${name}`)
  const credentials = grpc.credentials.createSsl(Buffer.from(context.caPem))
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${context.token}`)
  return {
    clusters: createClient(ClustersService, context.address, credentials),
    fleet: createClient(FleetService, context.address, credentials),
    enrolment: createClient(EnrolmentService, context.address, credentials),
    options: { metadata, timeoutMs: 5_000 },
  }
}

test('the first start makes a context that the CLI can use; an agent joins, finds its slice, and is seen', async () => {
  hub = await runHub(config)
  expect((await stat(config.adminContextPath)).mode & 0o777).toBe(0o600)
  const api = await connectApi()
  const registered = await api.clusters.registerCluster(
    create(RegisterClusterRequestSchema, { name: 'prod' }),
    api.options,
  )
  const user = createNkey('U')
  const token = registered.join?.token ?? ''
  const proof = user.sign(joinProofBytes(token, user.publicKey))
  const joined = await api.enrolment.join(create(JoinRequestSchema, { token, publicKey: user.publicKey, proof }), {
    timeoutMs: 5_000,
  })
  const credentials = joined.credentials
  if (!credentials) throw new Error('no credentials')
  const agent = await connectAgent({ id: joined.clusterId, user, credentials })
  const slice = await waitFor('the slice', async () => {
    const reply = await agent.request(desiredGetSubject(joined.clusterId, 'main'), '', { timeout: 2_000 })
    if ((reply.headers?.code ?? 0) >= 400) return undefined
    const trusted = new Map(credentials.signingKeys.map((key) => [key.id, key.publicKey]))
    return decodeSlice(reply.data, { clusterId: joined.clusterId, lastGeneration: 0n, trusted })
  })
  expect(slice.clusterName).toBe('prod')
  await api.clusters.removeCluster(create(RemoveClusterRequestSchema, { name: 'prod' }), api.options)
  await agent.closed()
  const status = await api.fleet.getHubStatus(create(GetHubStatusRequestSchema), api.options)
  expect(status.natsConnected).toBe(true)
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})

test('a restart keeps keys, token and addresses, and a stop leaves no server', async () => {
  hub = await runHub(config)
  const before = { urls: hub.natsUrls, contexts: await readContexts() }
  await hub.stop()
  expect(existsSync(path.join(config.dataDir, 'nats', 'nats-server.pid'))).toBe(false)
  hub = await runHub(config)
  expect({ urls: hub.natsUrls, contexts: await readContexts() }).toEqual(before)
  const api = await connectApi()
  await api.clusters.listClusters(create(ListClustersRequestSchema), api.options)
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})

test('the context of another hub is left alone', async () => {
  const other = 'currentContext: default\ncontexts:\n  - {name: default, address: "a:1", caPem: other, token: secret}\n'
  await writeFile(config.adminContextPath, other)
  hub = await runHub(config)
  const { contexts, currentContext } = await readContexts()
  expect(contexts[0]).toEqual({ name: 'default', address: 'a:1', caPem: 'other', token: 'secret' })
  expect(contexts[1]?.name).toBe('data')
  expect(currentContext).toBe('data')
})

test('a hub that cannot write the context there starts, and leaves it in its data directory', async () => {
  await writeFile(path.join(folder, 'file'), '')
  config = { ...config, adminContextPath: path.join(folder, 'file', 'config.yaml') }
  hub = await runHub(config)
  config = { ...config, adminContextPath: path.join(config.dataDir, 'context.yaml') }
  const api = await connectApi()
  await api.clusters.listClusters(create(ListClustersRequestSchema), api.options)
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})

test('a second hub on the same data is refused, and the first one goes on', async () => {
  hub = await runHub(config)
  await expect(runHub(config)).rejects.toMatchObject({ code: 'FailedPrecondition' })
  const api = await connectApi()
  expect((await api.fleet.getHubStatus(create(GetHubStatusRequestSchema), api.options)).natsConnected).toBe(true)
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})

test('a hub that cannot start says why and leaves nothing behind', async () => {
  await expect(runHub({ ...config, natsServerBinary: '/no/such/file' })).rejects.toThrow(/nats-server/)
  hub = await runHub(config)
})

test('a hub killed with SIGKILL starts again on the same data, addresses and NATS port', async () => {
  const script = `
    import { runHub } from '${path.resolve('hub/server/main.ts')}'
    await runHub(${JSON.stringify(config)})
    console.log('ready')`
  const args = ['--input-type=module-typescript', '--eval', script]
  const killed = startProcess({ name: 'hub', command: process.execPath, args, cwd: path.resolve('hub/server') })
  await waitFor('the hub to be ready', () => killed.readLog().includes('ready'), { alive: [killed], timeoutMs: 30_000 })
  const context = await readContexts()
  await killed.kill()
  const orphan = Number(await readFile(path.join(config.dataDir, 'nats', 'nats-server.pid'), 'utf8'))
  hub = await runHub(config)
  expect(await readContexts()).toEqual(context)
  expect(Number(await readFile(path.join(config.dataDir, 'nats', 'nats-server.pid'), 'utf8'))).not.toBe(orphan)
  const api = await connectApi()
  expect((await api.fleet.getHubStatus(create(GetHubStatusRequestSchema), api.options)).natsConnected).toBe(true)
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})

test('an existing NATS is used by the configuration that the hub writes for it, whenever it comes up', async () => {
  const port = await takePort()
  hub = await runHub({ ...config, natsUrl: `nats://127.0.0.1:${port}` })
  expect(hub.natsUrls).toEqual([`nats://127.0.0.1:${port}`])
  const file = path.join(config.dataDir, 'nats', 'external-server.conf')
  const store = makeRunFolder('fairlead-nats')
  const conf = path.join(store, 'nats.conf')
  await writeFile(
    conf,
    `listen: "127.0.0.1:${port}"
    jetstream { store_dir: "${store}", sync_interval: always }
    ${await readFile(file, 'utf8')}`,
  )
  const command = await getNatsBinary()
  await using server = startProcess({ name: 'external-nats', command, args: ['-c', conf], cwd: store })
  const api = await connectApi()
  const isConnected = async (): Promise<boolean> =>
    (await api.fleet.getHubStatus(create(GetHubStatusRequestSchema), api.options)).natsConnected
  await waitFor('the hub to be connected', isConnected, { alive: [server], timeoutMs: 20_000 })
  await hub.stop()
  hub = undefined
  for (const client of [api.clusters, api.fleet, api.enrolment]) client.close()
})
