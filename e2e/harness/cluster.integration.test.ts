// The clusters that every other test relies on.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeVerbs } from './audit.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { getField } from './kube-client.ts'
import { waitFor } from './wait.ts'

const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default', name: 'settings' } }

function deployment(name: string, annotations: Record<string, string> = {}) {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace: 'default', name },
    spec: {
      replicas: 3,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name }, annotations },
        spec: { containers: [{ name: 'web', image: 'shop/web:1' }] },
      },
    },
  }
}

describe('an API server alone', () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster({ name: 'alone' })
  })
  afterAll(() => cluster?.stop())

  test('records in its audit log who wrote what, and counts it', async () => {
    const since = Date.now()
    const before = await cluster.requestCount({ verb: 'POST', resource: 'configmaps' })
    await cluster.admin.create({ ...configMap, data: { colour: 'blue' } } as never)
    await cluster.admin.patch(configMap, { data: { colour: 'red' } }, { fieldManager: 'kubectl-edit' })
    expect(await cluster.requestCount({ verb: 'POST', resource: 'configmaps' })).toBe(before + 1)
    const written = cluster.auditLog({ user: 'admin', verbs: writeVerbs, since })
    expect(written.map(({ verb, resource, name, code }) => [verb, resource, name, code])).toEqual([
      ['create', 'configmaps', 'settings', 201],
      ['patch', 'configmaps', 'settings', 200],
    ])
    expect(written[0]?.userAgent).toBe('kubectl/harness')
    const managers = (await cluster.admin.get(configMap)).metadata.managedFields?.map(({ manager }) => manager)
    expect(managers).toEqual(['kubectl-create', 'kubectl-edit'])
  })

  test('gives a service account a token, and holds it to its role', async () => {
    await cluster.admin.create({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { namespace: 'default', name: 'poor' },
    })
    const { token } = await cluster.admin.createToken('default', 'poor')
    const poor = cluster.connectAs(token)
    await expect(poor.get(configMap)).rejects.toMatchObject({ status: 403, reason: 'Forbidden' })
    expect(cluster.auditLog({ user: 'system:serviceaccount:default:poor' }).map(({ code }) => code)).toContain(403)
    poor.close()
  })

  test('shows a change to whoever watches', async () => {
    const stop = new AbortController()
    const kinds: string[] = []
    const watching = (async () => {
      for await (const { type } of cluster.admin.watch(configMap, stop.signal)) kinds.push(type)
    })()
    await waitFor('the first event', () => kinds.length === 1)
    await cluster.admin.delete(configMap)
    await waitFor('the deletion', () => kinds.join() === 'ADDED,DELETED')
    stop.abort()
    await watching
  })

  test('keeps its objects and its address when it is killed and started again', async () => {
    await cluster.admin.create({ ...configMap, data: { colour: 'green' } } as never)
    await cluster.killApiServer()
    await expect(cluster.admin.get(configMap)).rejects.toThrow('ECONNREFUSED')
    await cluster.restartApiServer()
    expect((await cluster.admin.get(configMap)).data).toEqual({ colour: 'green' })
  })

  test('answers nothing while it is paused', async () => {
    cluster.pauseApiServer()
    const asked = cluster.admin.get(configMap)
    const early = await Promise.race([
      asked,
      waitFor('nothing', () => false, { timeoutMs: 300 }).catch(() => 'silence'),
    ])
    expect(early).toBe('silence')
    cluster.resumeApiServer()
    await asked
  })
})

describe('a full cluster', () => {
  let cluster: Cluster
  beforeAll(async () => {
    cluster = await startCluster({ name: 'full', full: true })
  })
  afterAll(() => cluster?.stop())

  test('rolls a Deployment out', async () => {
    const web = await cluster.admin.create(deployment('web'))
    await waitFor(
      'three ready replicas',
      async (see) => {
        const { status } = await cluster.admin.get(web)
        see(status)
        return status?.readyReplicas === 3
      },
      { alive: cluster.processes },
    )
    await cluster.admin.delete(web)
    await waitFor(
      'its pods to go',
      async () => (await cluster.admin.list({ apiVersion: 'v1', kind: 'Pod' })).length === 0,
    )
  })

  test('has pods that crash when they are told to', async () => {
    await cluster.admin.create(deployment('bad', { 'harness.fairlead.dev/behaviour': 'crash' }))
    await waitFor('three crashing pods', async (see) => {
      const pods = await cluster.admin.list({ apiVersion: 'v1', kind: 'Pod' }, { labels: 'app=bad' })
      const reasons = pods.map((pod) => getField(pod, 'status.containerStatuses.0.state.waiting.reason'))
      see(reasons)
      return reasons.filter((reason) => reason === 'CrashLoopBackOff').length === 3
    })
  })

  test('removes a namespace with what is in it', async () => {
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'short-lived' } }
    await cluster.admin.create(namespace)
    await cluster.admin.create({ ...configMap, metadata: { namespace: 'short-lived', name: 'settings' } })
    await cluster.admin.delete(namespace)
    await waitFor('the namespace to go', async () => !(await cluster.admin.find(namespace)), { timeoutMs: 30_000 })
  })
})
