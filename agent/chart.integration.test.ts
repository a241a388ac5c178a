// The agent's chart: what it refuses, what it asks for, and its life under Helm 3 and Helm 4 on a real API server.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import type { KubeObject } from '@fairlead/e2e/harness/kube-client'
import type { Container, Pod } from '@fairlead/e2e/harness/pod'
import { findSecurityViolations } from '@fairlead/e2e/harness/pod-security'
import { ensureTools } from '@fairlead/e2e/tools/tools'
import { load } from 'js-yaml'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from './config.ts'

const run = promisify(execFile)
const chart = path.resolve(import.meta.dirname, '../charts/agent')
const pin = `sha256:${'a'.repeat(64)}`
const hub = ['hub.address=hub.example.com:7443', `hub.caPin=${pin}`]
const versions = ['helm', 'helm3'] as const
let tools: Record<(typeof versions)[number], string>

beforeAll(async () => {
  tools = await ensureTools(versions)
}, 600_000)

type Version = (typeof versions)[number]

async function helm(version: Version, args: readonly string[], settings: readonly string[] = []): Promise<string> {
  const flags = settings.flatMap((setting) => ['--set', setting])
  const { stdout } = await run(tools[version], [...args, ...flags], {
    env: { PATH: process.env.PATH, HOME: '/nowhere' },
  })
  return stdout
}

/** The objects that the chart makes of these values, by kind and name. */
async function template(version: Version, settings: readonly string[]): Promise<Map<string, KubeObject>> {
  const text = await helm(version, ['template', 'fairlead-agent', chart, '-n', 'fairlead-system'], settings)
  const documents = text.split(/^---$/m).filter((document) => /^\w/m.test(document))
  const objects = documents.map((document) => load(document) as KubeObject)
  return new Map(
    objects.map((object) => [`${object.kind} ${object.metadata.namespace ?? ''}/${object.metadata.name}`, object]),
  )
}

async function refusal(version: Version, settings: readonly string[]): Promise<string> {
  const failed = await template(version, settings).catch((error: { stderr?: string }) => error)
  return 'stderr' in failed ? String(failed.stderr) : 'it was not refused'
}

describe.each(versions)('values, %s', (version) => {
  test('lint passes, and the values make an agent whose settings it understands', async () => {
    await helm(version, ['lint', '--strict', chart], [...hub, 'rbac.clusterAdmin=true'])
    const objects = await template(version, [
      ...hub,
      'rbac.namespaces={shop,web}',
      'join.token=flj_x',
      'heartbeatSeconds=2',
      'sops.ageSecret=age-keys',
    ])
    const { template: pod } = deploymentOf(objects)
    const env = Object.fromEntries((containerOf(pod).env ?? []).map(({ name, value = 'x' }) => [name, value]))
    expect(parseConfig({ ...env, KUBERNETES_SERVICE_HOST: '10.0.0.1' })).toMatchObject({
      hubAddress: 'hub.example.com:7443',
      hubCaPin: pin,
      joinToken: undefined,
      joinSecret: 'fairlead-agent-join',
      ageSecret: 'age-keys',
      namespaces: ['shop', 'web'],
      heartbeatMs: 2_000,
    })
  })

  test('what is missing, wrong, unknown or contradictory is refused with a sentence that says so', async () => {
    const admin = 'rbac.clusterAdmin=true'
    expect(await refusal(version, [...hub])).toContain('choose what the agent may do')
    expect(await refusal(version, [...hub, admin, 'rbac.namespaces={a}'])).toContain('exactly one')
    expect(await refusal(version, [`hub.caPin=${pin}`, admin])).toContain('hub.address is not set')
    expect(await refusal(version, ['hub.address=h:1', admin])).toContain('hub.caPin is not set')
    expect(await refusal(version, [...hub, admin, 'join.token=a', 'join.existingSecret=b'])).toContain('not both')
    expect(await refusal(version, ['hub.address=no-port', `hub.caPin=${pin}`, admin])).toContain('/hub/address')
    expect(await refusal(version, ['hub.address=h:1', 'hub.caPin=sha256:ab', admin])).toContain('/hub/caPin')
    expect(await refusal(version, [...hub, admin, 'hub.adress=h:1'])).toContain("'adress' not allowed")
    expect(await refusal(version, [...hub, admin, 'logLevel=chatty'])).toContain('/logLevel')
    expect(await refusal(version, [...hub, 'rbac.namespaces={Shop}'])).toContain('/rbac/namespaces/0')
    expect(await refusal(version, [...hub, 'rbac.namespaces={fairlead-system}'])).toContain("agent's own namespace")
    expect(await refusal(version, [...hub, admin, 'policy.namespace={shop}'])).toContain("'namespace' not allowed")
    expect(await refusal(version, [...hub, admin, 'rbac.impersonate={shop}'])).toContain('/rbac/impersonate/0')
  })

  test('cluster-wide rights only by choice, and nothing else than its own state besides', async () => {
    const own = [
      { apiGroups: [''], resources: ['secrets'], verbs: expect.not.arrayContaining(['*']) },
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['fairlead-agent-policy'],
        verbs: ['get', 'list', 'watch'],
      },
    ]
    const admin = await template(version, [...hub, 'rbac.clusterAdmin=true'])
    expect(kindsOf(admin)).toEqual(['ClusterRoleBinding', 'Deployment', 'Role', 'RoleBinding', 'ServiceAccount'])
    expect(admin.get('ClusterRoleBinding /fairlead-agent-fairlead-system')).toMatchObject({
      roleRef: { kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'fairlead-agent', namespace: 'fairlead-system' }],
    })
    expect(admin.get('Role fairlead-system/fairlead-agent')?.rules).toEqual(own)

    const some = await template(version, [...hub, 'rbac.namespaces={shop,web}'])
    expect([...some.keys()].filter((key) => key.startsWith('Cluster'))).toEqual([])
    expect(some.get('Role fairlead-system/fairlead-agent')?.rules).toEqual(own)
    for (const namespace of ['shop', 'web']) {
      expect(some.get(`Role ${namespace}/fairlead-agent-applications`)).toBeDefined()
      expect(some.get(`RoleBinding ${namespace}/fairlead-agent-applications`)).toMatchObject({
        roleRef: { kind: 'Role', name: 'fairlead-agent-applications' },
        subjects: [{ name: 'fairlead-agent', namespace: 'fairlead-system' }],
      })
    }
    const mine = await template(version, [...hub, 'rbac.existingClusterRole=narrow'])
    expect(mine.get('ClusterRoleBinding /fairlead-agent-fairlead-system')).toMatchObject({
      roleRef: { name: 'narrow' },
    })
  })

  test('the pod meets the restricted standard, has probes, and lets OpenShift choose the user', async () => {
    const objects = await template(version, [...hub, 'rbac.clusterAdmin=true', 'networkPolicy.enabled=true'])
    const { template: pod, strategy } = deploymentOf(objects)
    expect(findSecurityViolations(pod)).toEqual([])
    expect(JSON.stringify(pod)).not.toMatch(/runAsUser|runAsGroup|fsGroup|hostPath/)
    expect(containerOf(pod)).toMatchObject({
      livenessProbe: { httpGet: { path: '/healthz' } },
      readinessProbe: { httpGet: { path: '/readyz' } },
      command: expect.arrayContaining(['node', '/app/agent.js']),
    })
    expect(strategy.type).toBe('Recreate')
    const policy = objects.get('NetworkPolicy fairlead-system/fairlead-agent')
    expect(policy?.spec).toMatchObject({ policyTypes: ['Ingress', 'Egress'], ingress: [] })
    const rules = (policy?.spec?.egress ?? []) as { ports: { port: number }[] }[]
    expect(rules.flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual([
      53, 53, 5353, 5353, 7443, 443, 6443, 4222,
    ])
  })
})

describe.each(versions)('several replicas, events and metrics, %s', (version) => {
  const admin = 'rbac.clusterAdmin=true'
  const environmentOf = (objects: ReadonlyMap<string, KubeObject>) =>
    Object.fromEntries((containerOf(deploymentOf(objects).template).env ?? []).map(({ name, value }) => [name, value]))

  test('alone there is no election and never two pods; from two on there are a Lease, a budget and a rolling update', async () => {
    const one = await template(version, [...hub, admin])
    expect(deploymentOf(one)).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } })
    expect(environmentOf(one)).toMatchObject({ FAIRLEAD_LEADER_ELECTION: 'false', FAIRLEAD_EVENTS: 'true' })
    const two = await template(version, [...hub, admin, 'replicas=2'])
    expect(deploymentOf(two)).toMatchObject({
      replicas: 2,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
    })
    expect(environmentOf(two)).toMatchObject({ FAIRLEAD_LEADER_ELECTION: 'true' })
    const added = [...two.keys()].filter((key) => !one.has(key))
    expect(added.toSorted()).toEqual([
      'PodDisruptionBudget fairlead-system/fairlead-agent',
      'Role fairlead-system/fairlead-agent-lead',
      'RoleBinding fairlead-system/fairlead-agent-lead',
    ])
    expect(two.get('Role fairlead-system/fairlead-agent-lead')?.rules).toEqual([
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
      expect.objectContaining({ resourceNames: ['fairlead-agent'], verbs: ['get', 'list', 'watch', 'update'] }),
    ])
    expect(deploymentOf(two).template.spec).toMatchObject({
      topologySpreadConstraints: [{ topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway' }],
    })
    expect(findSecurityViolations(deploymentOf(two).template)).toEqual([])
    expect(await refusal(version, [...hub, admin, 'replicas=0'])).toContain('/replicas')
    expect(await refusal(version, [...hub, admin, 'replicas=two'])).toContain('/replicas')
  })

  test('Events can be written where the agent works, not read or deleted, and not at all when they are off', async () => {
    const rules = [{ apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] }]
    const some = await template(version, [...hub, 'rbac.namespaces={shop}'])
    expect(some.get('Role shop/fairlead-agent-events')?.rules).toEqual(rules)
    const mine = await template(version, [...hub, 'rbac.existingClusterRole=narrow'])
    expect(mine.get('ClusterRole /fairlead-agent-fairlead-system-events')?.rules).toEqual(rules)
    const off = await template(version, [...hub, 'rbac.existingClusterRole=narrow', 'events.enabled=false'])
    expect([...off.keys()].filter((key) => key.includes('events'))).toEqual([])
    expect(environmentOf(off)).toMatchObject({ FAIRLEAD_EVENTS: 'false' })
  })

  test('logs are read only where the owner of the cluster says so, and only then may the agent read them', async () => {
    const rules = [{ apiGroups: [''], resources: ['pods/log'], verbs: ['get'] }]
    const mine = [...hub, 'rbac.existingClusterRole=narrow']
    const off = await template(version, mine)
    expect(environmentOf(off)).toMatchObject({ FAIRLEAD_POD_LOGS: 'false' })
    expect(JSON.stringify([...off.values()])).not.toContain('pods/log')
    const on = await template(version, [...mine, 'health.podLogs=true'])
    expect(environmentOf(on)).toMatchObject({ FAIRLEAD_POD_LOGS: 'true' })
    expect(on.get('ClusterRole /fairlead-agent-fairlead-system-pod-logs')?.rules).toEqual(rules)
    expect(on.has('ClusterRoleBinding /fairlead-agent-fairlead-system-pod-logs')).toBe(true)
    const some = await template(version, [...hub, 'rbac.namespaces={shop}', 'health.podLogs=true'])
    expect(some.get('Role shop/fairlead-agent-pod-logs')?.rules).toEqual(rules)
    expect(some.get('RoleBinding shop/fairlead-agent-pod-logs')?.roleRef).toMatchObject({
      name: 'fairlead-agent-pod-logs',
    })
    // Who may everything needs no more.
    const all = await template(version, [...hub, admin, 'health.podLogs=true'])
    expect([...all.keys()].filter((key) => key.includes('pod-logs'))).toEqual([])
    expect(await refusal(version, [...mine, 'health.podLogs=maybe'])).toContain('/health/podLogs')
  })

  test('metrics are let in only for those who are named, and found by annotation or ServiceMonitor where asked', async () => {
    const plain = await template(version, [...hub, admin, 'networkPolicy.enabled=true'])
    expect(plain.get('NetworkPolicy fairlead-system/fairlead-agent')?.spec?.ingress).toEqual([])
    expect(kindsOf(plain)).not.toContain('Service')
    const peer = 'networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring'
    const wanted = ['metrics.annotations=true', 'metrics.serviceMonitor.enabled=true', 'priorityClassName=high']
    const full = await template(version, [...hub, admin, 'networkPolicy.enabled=true', peer, ...wanted])
    expect(full.get('NetworkPolicy fairlead-system/fairlead-agent')?.spec?.ingress).toEqual([
      {
        from: [{ namespaceSelector: { matchLabels: { name: 'monitoring' } } }],
        ports: [{ port: 8080, protocol: 'TCP' }],
      },
    ])
    expect(deploymentOf(full).template).toMatchObject({
      metadata: { annotations: { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '8080' } },
      spec: { priorityClassName: 'high' },
    })
    expect(full.get('ServiceMonitor fairlead-system/fairlead-agent')?.spec).toMatchObject({
      endpoints: [{ port: 'http', path: '/metrics', interval: '30s' }],
    })
    expect(full.get('Service fairlead-system/fairlead-agent-metrics')?.spec).toMatchObject({ clusterIP: 'None' })
    const off = await refusal(version, [...hub, admin, 'metrics.enabled=false', 'metrics.serviceMonitor.enabled=true'])
    expect(off).toContain('needs metrics.enabled')
  })
})

describe('install, upgrade and uninstall', () => {
  const namespace = 'fairlead-system'
  let cluster: Cluster

  beforeAll(async () => {
    cluster = await startCluster({ name: 'chart' })
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } } as never)
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
    await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'web' } })
  })
  afterAll(() => cluster?.stop())

  const find = (apiVersion: string, kind: string, name: string, inNamespace = namespace) =>
    cluster.admin.find({ apiVersion, kind, metadata: { namespace: inNamespace, name } })

  test.each(versions)(
    'with %s: keys stay through upgrade and uninstall, and so do the applications',
    async (version) => {
      const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
      await helm(
        version,
        ['install', 'fairlead-agent', chart, ...on],
        [...hub, 'rbac.clusterAdmin=true', 'join.token=flj_1'],
      )
      expect(await find('apps/v1', 'Deployment', 'fairlead-agent')).toBeDefined()
      // What the agent makes by itself.
      const identity = { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: 'fairlead-agent-identity' } }
      const inventory = { apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name: 'fairlead-inventory-web' } }
      const application = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { namespace: 'shop', name: `web-${version}` },
      }
      for (const object of [identity, inventory, application]) await cluster.admin.apply(object)
      const uid = (await cluster.admin.get(identity)).metadata.uid

      await helm(
        version,
        ['upgrade', 'fairlead-agent', chart, ...on],
        [...hub, 'rbac.namespaces={shop}', 'join.token=flj_2'],
      )
      expect(await find('rbac.authorization.k8s.io/v1', 'Role', 'fairlead-agent-applications', 'shop')).toBeDefined()
      const bindings = await cluster.admin.list({
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
      })
      expect(bindings.map(({ metadata }) => metadata.name)).not.toContain('fairlead-agent-fairlead-system')
      const token = (await find('v1', 'Secret', 'fairlead-agent-join'))?.data?.token
      expect(Buffer.from(token ?? '', 'base64').toString()).toBe('flj_2')
      expect((await cluster.admin.get(identity)).metadata.uid).toBe(uid)

      await helm(version, ['uninstall', 'fairlead-agent', ...on])
      expect(await find('apps/v1', 'Deployment', 'fairlead-agent')).toBeUndefined()
      expect(await find('v1', 'Secret', 'fairlead-agent-join')).toBeUndefined()
      for (const object of [identity, inventory, application]) {
        expect((await cluster.admin.get(object)).metadata.deletionTimestamp).toBeUndefined()
      }
      expect((await cluster.admin.get(identity)).metadata.uid).toBe(uid)
    },
  )

  test.each(versions)(
    'with %s: from one replica to several the one that knows no Lease ends first; later upgrades roll',
    async (version) => {
      const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
      const settings = [...hub, 'rbac.clusterAdmin=true']
      const strategy = async () => {
        const found = await find('apps/v1', 'Deployment', 'fairlead-agent')
        return (found?.spec as { strategy?: unknown } | undefined)?.strategy
      }
      await helm(version, ['install', 'fairlead-agent', chart, ...on], settings)
      expect(await strategy()).toEqual({ type: 'Recreate' })
      await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], [...settings, 'replicas=2'])
      expect(await strategy()).toEqual({ type: 'Recreate' })
      await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], [...settings, 'replicas=3'])
      expect(await strategy()).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } })
      await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], settings)
      expect(await strategy()).toEqual({ type: 'Recreate' })
      await helm(version, ['uninstall', 'fairlead-agent', ...on])
    },
  )

  test.each(versions)(
    'with %s: what was narrowed by hand stays narrow through an upgrade, and what was not follows the values',
    async (version) => {
      const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
      const values = [...hub, 'rbac.namespaces={shop,web}', 'policy.namespaces={shop}', 'policy.prune=false']
      await helm(version, ['install', 'fairlead-agent', chart, ...on], values)
      const policy = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name: 'fairlead-agent-policy' } }
      expect((await cluster.admin.get(policy)).data).toEqual({ namespaces: 'shop', prune: 'false' })
      const roleIn = (where: string) => ({
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: { namespace: where, name: 'fairlead-agent-applications' },
      })
      const narrow = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list', 'watch', 'patch'] }]
      const byHand = { type: 'merge', fieldManager: 'kubectl-edit' } as const
      await cluster.admin.patch(roleIn('shop'), { rules: narrow }, byHand)
      await cluster.admin.patch(policy, { data: { paused: 'true', prune: null } }, byHand)

      const wider = [...values, 'policy.prune=true', 'rbac.namespaceRules[0].apiGroups={apps}']
      const rule = ['rbac.namespaceRules[0].resources={deployments}', 'rbac.namespaceRules[0].verbs={get}']
      for (let round = 0; round < 2; round++) {
        await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], [...wider, ...rule])
        expect((await cluster.admin.get(roleIn('shop'))).rules).toEqual(narrow)
        expect((await cluster.admin.get(policy)).data).toEqual({ namespaces: 'shop', paused: 'true' })
      }
      expect((await cluster.admin.get(roleIn('web'))).rules).toEqual([
        { apiGroups: ['apps'], resources: ['deployments'], verbs: ['get'] },
      ])
      await helm(version, ['uninstall', 'fairlead-agent', ...on])
      expect((await cluster.admin.get(policy)).data).toEqual({ namespaces: 'shop', paused: 'true' })
      await helm(version, ['install', 'fairlead-agent', chart, ...on], values)
      expect((await cluster.admin.get(policy)).data).toEqual({ namespaces: 'shop', paused: 'true' })
      await helm(version, ['uninstall', 'fairlead-agent', ...on])
      await cluster.admin.delete(policy)
    },
  )

  test.each(versions)(
    'with %s: a rollback works, and leaves the policy of the cluster as its owner has it',
    async (version) => {
      const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
      const values = [...hub, 'rbac.clusterAdmin=true', 'policy.namespaces={shop}', 'policy.prune=false']
      const policy = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name: 'fairlead-agent-policy' } }
      const readPolicy = async () => (await cluster.admin.find(policy))?.data
      const ofOwner = { namespaces: 'shop', paused: 'true' }
      await helm(version, ['install', 'fairlead-agent', chart, ...on], values)
      expect(await readPolicy()).toEqual({ namespaces: 'shop', prune: 'false' })
      const byHand = { type: 'merge', fieldManager: 'kubectl-edit' } as const
      await cluster.admin.patch(policy, { data: { paused: 'true', prune: null } }, byHand)
      const notes = await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], [...values, 'logLevel=debug'])
      expect(notes).toContain(
        'the values in "policy" were not written. It says:\n  namespaces: "shop"\n  paused: "true"',
      )
      for (const revision of ['1', '2']) {
        await helm(version, ['rollback', 'fairlead-agent', revision, ...on])
        expect(await readPolicy()).toEqual(ofOwner)
        const agent = JSON.stringify(await find('apps/v1', 'Deployment', 'fairlead-agent'))
        expect(agent.includes('"debug"')).toBe(revision === '2')
      }
      await helm(version, ['uninstall', 'fairlead-agent', ...on])
      expect(await readPolicy()).toEqual(ofOwner)

      // What was deleted is not made anew by a rollback, but by an upgrade whose values still ask for it.
      await helm(version, ['install', 'fairlead-agent', chart, ...on], values)
      await cluster.admin.delete(policy)
      await helm(version, ['rollback', 'fairlead-agent', '1', ...on])
      expect(await readPolicy()).toBeUndefined()
      await helm(version, ['upgrade', 'fairlead-agent', chart, ...on], values)
      expect(await readPolicy()).toEqual({ namespaces: 'shop', prune: 'false' })
      await helm(version, ['uninstall', 'fairlead-agent', ...on])
      await cluster.admin.delete(policy)
    },
  )

  test.each(versions)('with %s: an upgrade says which Roles it kept, and how to give them up', async (version) => {
    const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
    const values = [...hub, 'rbac.namespaces={shop,web}']
    const rule = (verb: string) => [
      'rbac.namespaceRules[0].apiGroups={apps}',
      'rbac.namespaceRules[0].resources={deployments}',
      `rbac.namespaceRules[0].verbs={${verb}}`,
    ]
    const rulesOf = (verb: string) => [{ apiGroups: ['apps'], resources: ['deployments'], verbs: [verb] }]
    const upgrade = (settings: readonly string[]) =>
      helm(version, ['upgrade', 'fairlead-agent', chart, ...on], [...values, ...settings])
    const roleIn = (where: string) => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'Role',
      metadata: { namespace: where, name: 'fairlead-agent-applications' },
    })
    const install = await helm(version, ['install', 'fairlead-agent', chart, ...on], [...values, ...rule('get')])
    expect(install).not.toContain('KEPT')
    // As a chart without the annotation left it: nobody knows who wrote these rules.
    const byHand = { type: 'merge', fieldManager: 'kubectl-edit' } as const
    const unmarked = { metadata: { annotations: { 'fairlead.dev/rules-sha256': null } }, rules: rulesOf('watch') }
    await cluster.admin.patch(roleIn('shop'), unmarked, byHand)
    for (let round = 0; round < 2; round++) {
      const notes = await upgrade(rule('list'))
      expect((await cluster.admin.get(roleIn('shop'))).rules).toEqual(rulesOf('watch'))
      expect((await cluster.admin.get(roleIn('web'))).rules).toEqual(rulesOf('list'))
      expect(notes).toContain('Role fairlead-agent-applications in namespace shop was changed by hand and KEPT')
      expect(notes).not.toContain('in namespace web was')
    }
    await cluster.admin.delete(roleIn('shop'))
    // An empty list is not stored by the API server; the rules are the chart's all the same.
    for (const verb of ['patch', 'update']) {
      const json = `rbac.namespaceRules=${JSON.stringify([{ ...rulesOf(verb)[0], resourceNames: [] }])}`
      const notes = await helm(version, ['upgrade', 'fairlead-agent', chart, ...on, '--set-json', json], values)
      expect(notes).not.toContain('KEPT')
      for (const where of ['shop', 'web']) {
        expect((await cluster.admin.get(roleIn(where))).rules).toEqual(rulesOf(verb))
      }
    }
    await helm(version, ['uninstall', 'fairlead-agent', ...on])
  })

  test('an agent for some namespaces may write there and in its own, and nowhere else', async () => {
    const on = ['-n', namespace, '--kubeconfig', cluster.kubeconfigPath]
    const impersonate = 'rbac.impersonate={web/deployer,web/other}'
    await helm('helm', ['install', 'fairlead-agent', chart, ...on], [...hub, 'rbac.namespaces={shop}', impersonate])
    const { token } = await cluster.admin.createToken(namespace, 'fairlead-agent')
    const agent = cluster.connectAs(token, 'fairlead-agent/test')
    const write = (apiVersion: string, kind: string, inNamespace: string) =>
      agent.apply({ apiVersion, kind, metadata: { namespace: inNamespace, name: 'probe' } })
    await write('v1', 'ConfigMap', 'shop')
    await write('v1', 'ServiceAccount', 'shop')
    await write('v1', 'Secret', namespace)
    for (const [kind, where] of [
      ['ServiceAccount', namespace],
      ['ConfigMap', 'default'],
      ['Secret', 'kube-system'],
    ] as const) {
      await expect(write('v1', kind, where)).rejects.toMatchObject({ status: 403 })
    }
    const policy = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name: 'fairlead-agent-policy' } }
    await expect(agent.apply(policy)).rejects.toMatchObject({ status: 403 })
    await expect(agent.find(policy)).resolves.toBeUndefined()
    await expect(write('v1', 'ConfigMap', namespace)).rejects.toMatchObject({ status: 403 })
    await expect(agent.list({ apiVersion: 'v1', kind: 'Secret' })).rejects.toMatchObject({ status: 403 })
    agent.close()
  })
})

function containerOf(pod: Pod): Container {
  const [container] = pod.spec.containers
  if (!container) throw new Error('the pod has no container')
  return container
}

interface DeploymentSpec {
  readonly replicas: number
  readonly strategy: { readonly type: string }
  readonly template: Pod
}

function deploymentOf(objects: ReadonlyMap<string, KubeObject>): DeploymentSpec {
  const found = objects.get('Deployment fairlead-system/fairlead-agent')
  if (!found?.spec) throw new Error('the chart makes no Deployment')
  return found.spec as unknown as DeploymentSpec
}

function kindsOf(objects: ReadonlyMap<string, KubeObject>): string[] {
  return [...new Set([...objects.values()].map(({ kind }) => kind))].toSorted()
}
