// The identity Secret against a real API server.
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { silentLogger } from '@fairlead/shared/logger'
import { createNkey } from '@fairlead/shared/nkey'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { kubeconfigAccess } from '../kube/access.ts'
import { createKube, type Kube } from '../kube/kube.ts'
import { IDENTITY_SECRET, IdentityStore } from './identity-store.ts'

const namespace = 'default'
let cluster: Cluster
let kube: Kube

beforeAll(async () => {
  cluster = await startCluster({ name: 'identity' })
  const access = await kubeconfigAccess(cluster.kubeconfigPath)
  kube = createKube({ access, userAgent: 'fairlead-agent/test', logger: silentLogger })
}, 120_000)
afterAll(async () => {
  await kube?.close()
  await cluster?.stop()
})

test('a key whose Secret was deleted by hand is written again with the next renewal', async () => {
  const signal = AbortSignal.timeout(20_000)
  const store = new IdentityStore(kube, namespace)
  const identity = { key: createNkey('U'), tokenDigest: undefined, joined: undefined, hub: undefined }
  await store.save(identity, signal)
  await cluster.admin.delete({ apiVersion: 'v1', kind: 'Secret', metadata: { name: IDENTITY_SECRET, namespace } })
  await store.save(identity, signal)
  const restarted = await new IdentityStore(kube, namespace).load(signal)
  expect(restarted?.key.publicKey).toBe(identity.key.publicKey)
})
