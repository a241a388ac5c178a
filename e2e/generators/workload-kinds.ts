// Manifests of the namespaced built-in kinds: what runs, how it is reached, configured, limited and allowed.

import type { Manifest, ManifestNames } from './builtin-kinds.ts'

const labels = { app: 'shop', tier: 'web' }

/** Everything that lives in a namespace. */
export function workloadManifests({ namespace, prefix }: ManifestNames): Manifest[] {
  const make = (apiVersion: string, kind: string, name: string, fields: object): Manifest => ({
    apiVersion,
    kind,
    metadata: { name, namespace, labels, annotations: { 'example.com/team': 'Größe: 東京 ✓' } },
    ...fields,
  })
  return [
    ...configuration(make),
    ...running(make),
    ...scheduled(make),
    ...network(make),
    ...limits(make),
    ...permissions(make),
    ...storage(make, prefix),
  ]
}

type Make = (apiVersion: string, kind: string, name: string, fields: object) => Manifest

const container = {
  name: 'web',
  image: 'registry.example.com/shop/web:1.27.3',
  args: ['--listen', ':8080'],
  ports: [
    { name: 'http', containerPort: 8080 },
    { name: 'metrics', containerPort: 9090 },
  ],
  env: [
    { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    { name: 'LEVEL', valueFrom: { configMapKeyRef: { name: 'settings', key: 'level', optional: true } } },
    { name: 'EMPTY', value: '' },
  ],
  resources: { requests: { cpu: '0.1', memory: '128Mi' }, limits: { cpu: '1000m', memory: '0.5Gi' } },
  readinessProbe: { httpGet: { path: '/ready', port: 'http' }, periodSeconds: 5 },
  livenessProbe: { tcpSocket: { port: 8080 }, initialDelaySeconds: 10 },
  securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
  volumeMounts: [
    { name: 'settings', mountPath: '/etc/shop', readOnly: true },
    { name: 'tmp', mountPath: '/tmp' },
  ],
}
const podSpec = {
  serviceAccountName: 'shop',
  terminationGracePeriodSeconds: 1,
  securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [container],
  initContainers: [{ name: 'migrate', image: 'registry.example.com/shop/migrate:9', command: ['/migrate'] }],
  tolerations: [{ key: 'spot', operator: 'Exists', effect: 'NoSchedule' }],
  affinity: {
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 100,
          podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: labels } },
        },
      ],
    },
  },
  volumes: [
    { name: 'settings', configMap: { name: 'settings', defaultMode: 0o440 } },
    { name: 'tmp', emptyDir: {} },
  ],
}
const selectorOf = (name: string) => ({ matchLabels: { app: name } })
const templateOf = (name: string, spec: object = {}) => ({
  metadata: { labels: { app: name } },
  spec: { ...podSpec, ...spec },
})

function configuration(make: Make): Manifest[] {
  const key = Buffer.from('-----BEGIN KEY-----\nMIIE\n').toString('base64')
  return [
    make('v1', 'ConfigMap', 'settings', {
      data: { level: 'info', 'config.yaml': 'a: 1\nb: "two"\n', empty: '' },
      binaryData: { logo: 'AAECAw==' },
    }),
    make('v1', 'Secret', 'credentials', { type: 'Opaque', data: { key }, stringData: { password: 'not-a-real-one' } }),
    make('v1', 'ServiceAccount', 'shop', { automountServiceAccountToken: false, imagePullSecrets: [{ name: 'pull' }] }),
    make('v1', 'PodTemplate', 'template', { template: templateOf('template') }),
  ]
}

function running(make: Make): Manifest[] {
  return [
    make('v1', 'Pod', 'debug', { spec: podSpec }),
    make('v1', 'ReplicationController', 'old', {
      spec: { replicas: 1, selector: { app: 'old' }, template: templateOf('old') },
    }),
    make('apps/v1', 'ReplicaSet', 'bare', {
      spec: { replicas: 1, selector: selectorOf('bare'), template: templateOf('bare') },
    }),
    make('apps/v1', 'Deployment', 'web', {
      spec: {
        replicas: 2,
        revisionHistoryLimit: 3,
        selector: selectorOf('web'),
        strategy: { rollingUpdate: { maxSurge: '25%', maxUnavailable: 0 } },
        template: templateOf('web'),
      },
    }),
    make('apps/v1', 'StatefulSet', 'store', {
      spec: {
        serviceName: 'store',
        replicas: 1,
        podManagementPolicy: 'Parallel',
        selector: selectorOf('store'),
        template: templateOf('store'),
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1024Mi' } } },
          },
        ],
      },
    }),
    make('apps/v1', 'DaemonSet', 'node-agent', {
      spec: { selector: selectorOf('node-agent'), template: templateOf('node-agent', { hostNetwork: false }) },
    }),
  ]
}

function scheduled(make: Make): Manifest[] {
  const spec = { restartPolicy: 'Never' }
  return [
    make('batch/v1', 'Job', 'import', {
      spec: { backoffLimit: 2, completions: 1, template: { spec: { ...podSpec, ...spec } } },
    }),
    make('batch/v1', 'CronJob', 'nightly', {
      spec: {
        schedule: '17 3 * * *',
        timeZone: 'Etc/UTC',
        concurrencyPolicy: 'Forbid',
        suspend: true,
        jobTemplate: { spec: { template: { spec: { ...podSpec, ...spec } } } },
      },
    }),
    make('autoscaling/v2', 'HorizontalPodAutoscaler', 'old', {
      spec: {
        scaleTargetRef: { apiVersion: 'v1', kind: 'ReplicationController', name: 'old' },
        minReplicas: 1,
        maxReplicas: 5,
        metrics: [
          { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } },
        ],
        behavior: {
          scaleDown: { stabilizationWindowSeconds: 300, policies: [{ type: 'Percent', value: 10, periodSeconds: 60 }] },
        },
      },
    }),
  ]
}

function network(make: Make): Manifest[] {
  const backend = { service: { name: 'web', port: { name: 'http' } } }
  return [
    make('v1', 'Service', 'web', {
      spec: {
        selector: { app: 'web' },
        ports: [
          { name: 'http', port: 80, targetPort: 'http' },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
      },
    }),
    make('v1', 'Endpoints', 'legacy', {
      subsets: [{ addresses: [{ ip: '192.0.2.10' }], ports: [{ name: 'pg', port: 5432 }] }],
    }),
    make('discovery.k8s.io/v1', 'EndpointSlice', 'external', {
      addressType: 'IPv4',
      endpoints: [{ addresses: ['192.0.2.11'], conditions: { ready: true } }],
      ports: [{ name: 'pg', port: 5432, protocol: 'TCP' }],
    }),
    make('networking.k8s.io/v1', 'Ingress', 'web', {
      spec: {
        ingressClassName: 'public',
        tls: [{ hosts: ['shop.example.com'], secretName: 'shop-tls' }],
        rules: [{ host: 'shop.example.com', http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }],
      },
    }),
    make('networking.k8s.io/v1', 'NetworkPolicy', 'default-deny', {
      spec: {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ ports: [{ port: 53, protocol: 'UDP' }] }],
      },
    }),
    make('policy/v1', 'PodDisruptionBudget', 'web', { spec: { maxUnavailable: '50%', selector: selectorOf('web') } }),
  ]
}

function limits(make: Make): Manifest[] {
  return [
    make('v1', 'LimitRange', 'defaults', {
      spec: {
        limits: [{ type: 'Container', default: { memory: '1Gi' }, defaultRequest: { cpu: '10m' }, max: { cpu: 4 } }],
      },
    }),
    make('v1', 'ResourceQuota', 'quota', {
      spec: { hard: { 'requests.cpu': '20', 'limits.memory': '64Gi', 'count/configmaps': '1000', pods: 100 } },
    }),
  ]
}

function permissions(make: Make): Manifest[] {
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' }
  return [
    make('rbac.authorization.k8s.io/v1', 'Role', 'reader', {
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'], resourceNames: ['settings'] }],
    }),
    make('rbac.authorization.k8s.io/v1', 'RoleBinding', 'reader', {
      roleRef,
      subjects: [
        { kind: 'ServiceAccount', name: 'shop' },
        { kind: 'Group', name: 'team', apiGroup: 'rbac.authorization.k8s.io' },
      ],
    }),
  ]
}

function storage(make: Make, prefix: string): Manifest[] {
  const request = { name: 'gpu', exactly: { deviceClassName: `${prefix}-gpu`, count: 2 } }
  const spec = { devices: { requests: [request] } }
  return [
    make('v1', 'PersistentVolumeClaim', 'data', {
      spec: {
        accessModes: ['ReadWriteOnce'],
        storageClassName: `${prefix}-fast`,
        resources: { requests: { storage: '10Gi' } },
      },
    }),
    make('resource.k8s.io/v1', 'ResourceClaim', 'gpu', { spec }),
    make('resource.k8s.io/v1', 'ResourceClaimTemplate', 'gpu', { spec: { spec } }),
  ]
}
