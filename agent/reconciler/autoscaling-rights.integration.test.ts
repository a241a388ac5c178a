// An agent that may not look at autoscalers: what they took is told by managedFields, and that it may not is seen. With
// real rights, on real controllers.
import { getField } from '@fairlead/e2e/harness/kube-client'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { expect, test } from 'vitest'
import { ClusterBed } from './cluster-bed.ts'
import type { ReconcilerBed, TestObject } from './reconciler-bed.ts'

const here = ClusterBed.forFile({ name: 'rights', full: true })
const slow = { timeoutMs: 60_000 }
const deployment = (image: string): TestObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'd' } },
    template: {
      metadata: { labels: { app: 'd' } },
      spec: { containers: [{ name: 'c', image, resources: { requests: { cpu: '100m' } } }] },
    },
  },
})
/** Below its minimum it scales without metrics. */
const autoscaler: TestObject = {
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'h' },
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' },
    minReplicas: 3,
    maxReplicas: 9,
    metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }],
  },
}
const replicas = async () => getField(await here.find(deployment('')), 'spec.replicas')

/** An agent that may work in its namespace alone, with what a narrowed Role allows. */
async function startNarrowed(): Promise<ReconcilerBed> {
  const { admin, namespace, cluster } = here
  const rbac = 'rbac.authorization.k8s.io/v1'
  const metadata = { name: 'agent', namespace }
  const rules = [
    { apiGroups: [''], resources: ['secrets', 'configmaps', 'pods'], verbs: ['*'] },
    { apiGroups: ['apps'], resources: ['deployments', 'replicasets'], verbs: ['*'] },
  ]
  type Created = Parameters<typeof admin.create>[0]
  await admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
  await admin.create({ apiVersion: rbac, kind: 'Role', metadata, rules } as Created)
  await admin.create({
    apiVersion: rbac,
    kind: 'RoleBinding',
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'agent' },
    subjects: [{ kind: 'ServiceAccount', ...metadata }],
  } as Created)
  const { token } = await admin.createToken(namespace, 'agent')
  const kube = await here.connect(cluster.writeKubeconfig(namespace, { token }))
  await waitFor('the rights to count', async () => {
    const secrets = await kube.resolve({ group: '', version: 'v1', kind: 'Secret' })
    return await kube.list(secrets, { namespace })
  })
  return await here.start({ kube, namespaces: [namespace] })
}

test('what an HPA took is left to it though the agent may not look at HPAs, which its status says', {
  timeout: 120_000,
}, async () => {
  const bed = await startNarrowed()
  bed.update({ web: { objects: [deployment('nginx:1')] } })
  await bed.synced('web')
  expect(await replicas()).toBe(1)
  const watches = bed.reconciler.inspect().watches.filter(({ kind }) => kind === 'HorizontalPodAutoscaler')
  expect(watches).toMatchObject([{ group: 'autoscaling', state: 'forbidden' }])
  expect(watches[0]?.message).toContain('cannot list resource')
  await here.admin.create(here.placed(autoscaler))
  await waitFor('the HPA to scale', async () => (await replicas()) === 3, slow)
  bed.update({ web: { objects: [deployment('nginx:2')] } })
  await waitFor('the new image', async () => JSON.stringify(await here.find(deployment(''))).includes('nginx:2'))
  await bed.synced('web')
  bed.reconciler.reconcile()
  bed.update({ web: { objects: [deployment('nginx:3')] } })
  await waitFor('the next image', async () => JSON.stringify(await here.find(deployment(''))).includes('nginx:3'))
  const report = await bed.synced('web')
  expect(await replicas()).toBe(3)
  expect(report).toMatchObject({ remediations: 0n, drifts: [], problems: [] })
})
