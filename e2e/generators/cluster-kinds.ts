// Manifests of the built-in kinds that belong to no namespace: classes, permissions, extensions and admission.

import type { Manifest, ManifestNames } from './builtin-kinds.ts'

type Make = (apiVersion: string, kind: string, fields: object, name?: string) => Manifest

const makeFor =
  (prefix: string): Make =>
  (apiVersion, kind, fields, name = `${prefix}-${kind.toLowerCase()}`) => ({
    apiVersion,
    kind,
    metadata: { name, labels: { app: 'shop', tier: 'web' } },
    ...fields,
  })

/** Namespaces, classes, permissions, and what extends the API. */
export function clusterManifests({ namespace, prefix }: ManifestNames): Manifest[] {
  const make = makeFor(prefix)
  return [
    make('v1', 'Namespace', {}),
    ...classes(make, prefix),
    ...permissions(make, namespace),
    ...extensions(make, prefix),
    ...priorities(make, prefix),
  ]
}

function classes(make: Make, prefix: string): Manifest[] {
  return [
    make('v1', 'PersistentVolume', {
      spec: {
        capacity: { storage: '10Gi' },
        accessModes: ['ReadWriteMany'],
        persistentVolumeReclaimPolicy: 'Retain',
        storageClassName: `${prefix}-nfs`,
        nfs: { server: 'nfs.example.com', path: '/exports/shop' },
      },
    }),
    make(
      'storage.k8s.io/v1',
      'StorageClass',
      {
        provisioner: 'csi.example.com',
        parameters: { type: 'ssd' },
        allowVolumeExpansion: true,
        volumeBindingMode: 'WaitForFirstConsumer',
      },
      `${prefix}-fast`,
    ),
    make('storage.k8s.io/v1', 'VolumeAttributesClass', { driverName: 'csi.example.com', parameters: { iops: '3000' } }),
    make('storage.k8s.io/v1', 'CSIDriver', { spec: { attachRequired: true, fsGroupPolicy: 'File' } }),
    make('networking.k8s.io/v1', 'IngressClass', { spec: { controller: 'example.com/ingress' } }),
    make('node.k8s.io/v1', 'RuntimeClass', {
      handler: 'gvisor',
      overhead: { podFixed: { memory: '120Mi', cpu: '250m' } },
    }),
    make('scheduling.k8s.io/v1', 'PriorityClass', { value: 100000, description: 'the shop first' }),
    make(
      'resource.k8s.io/v1',
      'DeviceClass',
      { spec: { selectors: [{ cel: { expression: "device.driver == 'gpu.example.com'" } }] } },
      `${prefix}-gpu`,
    ),
    make('networking.k8s.io/v1', 'ServiceCIDR', { spec: { cidrs: ['10.112.0.0/16'] } }),
  ]
}

function permissions(make: Make, namespace: string): Manifest[] {
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' }
  return [
    make('rbac.authorization.k8s.io/v1', 'ClusterRole', {
      rules: [
        { apiGroups: ['apps'], resources: ['deployments', 'deployments/scale'], verbs: ['*'] },
        { nonResourceURLs: ['/metrics'], verbs: ['get'] },
      ],
    }),
    make('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', {
      roleRef,
      subjects: [{ kind: 'ServiceAccount', name: 'shop', namespace }],
    }),
  ]
}

function extensions(make: Make, prefix: string): Manifest[] {
  const group = `${prefix}.example.com`
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      required: ['spec'],
      properties: {
        spec: {
          type: 'object',
          'x-kubernetes-validations': [{ rule: 'self.size > 0', message: 'must be positive' }],
          properties: {
            size: { type: 'integer', minimum: 1, default: 1 },
            any: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
            port: { 'x-kubernetes-int-or-string': true },
          },
        },
        status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      },
    },
  }
  return [
    make(
      'apiextensions.k8s.io/v1',
      'CustomResourceDefinition',
      {
        spec: {
          group,
          scope: 'Namespaced',
          names: { kind: 'Widget', plural: 'widgets', singular: 'widget', shortNames: ['wd'] },
          versions: [
            {
              name: 'v1',
              served: true,
              storage: true,
              schema,
              subresources: { status: {} },
              additionalPrinterColumns: [{ name: 'Size', type: 'integer', jsonPath: '.spec.size' }],
            },
          ],
        },
      },
      `widgets.${group}`,
    ),
    // Served by the API server itself: one that leads to a service which is away would break discovery for everybody.
    make(
      'apiregistration.k8s.io/v1',
      'APIService',
      { spec: { group: `other-${group}`, version: 'v1', groupPriorityMinimum: 1000, versionPriority: 15 } },
      `v1.other-${group}`,
    ),
  ]
}

function priorities(make: Make, prefix: string): Manifest[] {
  const level = `${prefix}-level`
  return [
    make(
      'flowcontrol.apiserver.k8s.io/v1',
      'PriorityLevelConfiguration',
      {
        spec: {
          type: 'Limited',
          limited: {
            nominalConcurrencyShares: 10,
            limitResponse: { type: 'Queue', queuing: { queues: 16, handSize: 4, queueLengthLimit: 50 } },
          },
        },
      },
      level,
    ),
    make('flowcontrol.apiserver.k8s.io/v1', 'FlowSchema', {
      spec: {
        priorityLevelConfiguration: { name: level },
        matchingPrecedence: 8000,
        rules: [
          {
            subjects: [{ kind: 'User', user: { name: `${prefix}-nobody` } }],
            resourceRules: [{ verbs: ['get'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'] }],
          },
        ],
      },
    }),
  ]
}

/** Webhooks and policies, which look only at what bears a label that nothing bears. */
export function admissionManifests({ prefix }: ManifestNames): Manifest[] {
  const make = makeFor(prefix)
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const resourceRule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }
  const objectSelector = { matchLabels: { [`${prefix}.example.com/looked-at`]: 'yes' } }
  const webhook = {
    name: 'shop.example.com',
    admissionReviewVersions: ['v1'],
    sideEffects: 'None',
    failurePolicy: 'Ignore',
    timeoutSeconds: 5,
    clientConfig: { service: { name: 'webhook', namespace: 'default', path: '/admit' } },
    rules: [resourceRule],
    objectSelector,
  }
  const matchConstraints = { resourceRules: [resourceRule], objectSelector }
  const policyName = (kind: string) => `${prefix}-${kind.toLowerCase()}`
  return [
    make(apiVersion, 'ValidatingWebhookConfiguration', { webhooks: [webhook] }),
    make(apiVersion, 'MutatingWebhookConfiguration', { webhooks: [{ ...webhook, reinvocationPolicy: 'IfNeeded' }] }),
    make(apiVersion, 'ValidatingAdmissionPolicy', {
      spec: { matchConstraints, validations: [{ expression: "object.metadata.name != 'forbidden'" }] },
    }),
    make(apiVersion, 'ValidatingAdmissionPolicyBinding', {
      spec: { policyName: policyName('ValidatingAdmissionPolicy'), validationActions: ['Deny'] },
    }),
    make(apiVersion, 'MutatingAdmissionPolicy', {
      spec: {
        matchConstraints,
        reinvocationPolicy: 'Never',
        mutations: [
          {
            patchType: 'ApplyConfiguration',
            applyConfiguration: { expression: "Object{metadata: Object.metadata{labels: {'seen': 'yes'}}}" },
          },
        ],
      },
    }),
    make(apiVersion, 'MutatingAdmissionPolicyBinding', { spec: { policyName: policyName('MutatingAdmissionPolicy') } }),
  ]
}
