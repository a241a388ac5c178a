// The identity Secret against a real API server.
import { createNkey } from '@fairlead/shared/nkey'
import { expect, test } from 'vitest'
import { ClusterBed } from '../reconciler/cluster-bed.ts'
import { IDENTITY_SECRET, IdentityStore } from './identity-store.ts'

const here = ClusterBed.forFile({ name: 'identity' })

test('a key whose Secret was deleted by hand is written again with the next renewal', async () => {
  const signal = AbortSignal.timeout(20_000)
  const store = new IdentityStore(here.kube, here.namespace)
  const identity = { key: createNkey('U'), tokenDigest: undefined, joined: undefined, hub: undefined }
  await store.save(identity, signal)
  await here.admin.delete({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: IDENTITY_SECRET, namespace: here.namespace },
  })
  await store.save(identity, signal)
  const restarted = await new IdentityStore(here.kube, here.namespace).load(signal)
  expect(restarted?.key.publicKey).toBe(identity.key.publicKey)
})
