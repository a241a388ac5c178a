import { parseSchemaVersion, SCHEMA_VERSIONS } from '@fairlead/shared/kubernetes-versions'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import { readKubernetesSchemas } from './kubernetes-schemas.ts'
import { SchemaChecker } from './schema-checker.ts'

const newest = new SchemaChecker('1.36')
const object = (apiVersion: string, kind: string, rest: object = {}) =>
  ({ apiVersion, kind, metadata: { name: 'web' }, ...rest }) as KubernetesObject
const pod = (container: object, spec: object = {}) =>
  object('v1', 'Pod', { spec: { containers: [{ name: 'web', image: 'web:1', ...container }], ...spec } })
const problemsOf = (checked: KubernetesObject, checker = newest): string[] => {
  const outcome = checker.check(checked)
  if (outcome.kind === 'unchecked') throw new Error(outcome.reason)
  return outcome.problems.map(({ field, message }) => `${field}: ${message}`)
}

test.each([
  [
    pod({ imagePullpolicy: 'Always' }),
    'spec.containers[0].imagePullpolicy: unknown field "imagePullpolicy"; did you mean imagePullPolicy?',
  ],
  [
    pod({ ports: [{ containerPort: 'http' }] }),
    'spec.containers[0].ports[0].containerPort: must be an integer, not "http"',
  ],
  [pod({ ports: [{}] }), 'spec.containers[0].ports[0].containerPort: is missing'],
  [
    pod({ resources: { limits: { memory: '1GB' } } }),
    'spec.containers[0].resources.limits.memory: "1GB" is not a quantity',
  ],
  [pod({}, { nodeSelector: { 'a.b/c': true } }), 'spec.nodeSelector["a.b/c"]: must be a string, not true'],
  [pod({}, { terminationGracePeriodSeconds: 2.5 }), 'spec.terminationGracePeriodSeconds: must be an integer, not 2.5'],
  [
    object('apps/v1', 'Deployment', { spec: { replicas: 2 ** 40 } }),
    'spec.replicas: 1099511627776 is not an integer of 32 bits',
  ],
  [object('v1', 'ConfigMap', { data: { port: 80 } }), 'data.port: must be a string, not 80'],
  [object('v1', 'ConfigMap', { dada: {} }), 'dada: unknown field "dada"; did you mean data?'],
])('%j', (wrong, problem) => {
  expect(problemsOf(wrong)).toContain(problem)
})

test('what an API server reads as well is not wrong: nulls, numbers as quantities, names or numbers of ports', () => {
  const probes = { livenessProbe: { httpGet: { port: 'http' } }, readinessProbe: { httpGet: { port: 80 } } }
  const limits = { cpu: 1, memory: '1.5Gi', 'ephemeral-storage': '1e3' }
  expect(problemsOf(pod({ ...probes, command: null, resources: { limits } }, { volumes: [] }))).toEqual([])
  const created = { ...object('v1', 'ConfigMap'), metadata: { name: 'a', creationTimestamp: null, labels: null } }
  expect(problemsOf(created as never)).toEqual([])
})

test('variables stand for values that only the cluster knows', () => {
  expect(
    problemsOf(object('apps/v1', 'Deployment', { spec: { replicas: '${cluster.values.replicas}' } })),
  ).not.toContain('spec.replicas: must be an integer, not "${cluster.values.replicas}"')
})

test('nothing of a Secret is in a message', () => {
  expect(problemsOf(object('v1', 'Secret', { data: { password: 'hunter2!' } }))).toEqual([
    'data.password: what is written is not base64',
  ])
})

test('kinds that a version does not serve are named with those that it does; kinds of others are not judged', () => {
  expect(problemsOf(object('extensions/v1beta1', 'Ingress'))).toEqual([
    'apiVersion: Kubernetes 1.36 serves no Ingress of extensions/v1beta1; it serves networking.k8s.io/v1',
  ])
  expect(problemsOf(object('apps/v1', 'Deploymint'))).toEqual([
    'apiVersion: Kubernetes 1.36 serves no Deploymint of apps/v1',
  ])
  const dra = object('resource.k8s.io/v1', 'DeviceClass', { spec: {} })
  expect(problemsOf(dra, new SchemaChecker('1.32'))[0]).toContain('Kubernetes 1.32 serves no DeviceClass')
  expect(problemsOf(dra)).toEqual([])
  expect(newest.check(object('cert-manager.io/v1', 'Certificate'))).toMatchObject({ kind: 'unchecked' })
})

const crd = (schema: object) =>
  object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', {
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { kind: 'Shop', plural: 'shops' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  })
const shop = (spec: object) => object('example.com/v1', 'Shop', { spec })

test('custom resources are checked by the CRD that is there for them', () => {
  const schema = {
    type: 'object',
    properties: {
      spec: {
        type: 'object',
        required: ['size'],
        properties: {
          size: { type: 'string', enum: ['small', 'large'] },
          port: { 'x-kubernetes-int-or-string': true },
          free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true, properties: { a: { type: 'string' } } },
          one: {
            type: 'object',
            properties: { a: { type: 'string' }, b: { type: 'string' } },
            oneOf: [{ required: ['a'] }, { required: ['b'] }],
          },
        },
      },
    },
  }
  const checker = new SchemaChecker('1.36', [crd(schema)])
  expect(problemsOf(shop({ size: 'small', port: 80, free: { b: 1 }, one: { a: 'x' } }), checker)).toEqual([])
  expect(problemsOf(shop({ port: 'http', sise: 'small' }), checker)).toEqual([
    'spec.size: is missing',
    'spec.sise: unknown field "sise"; did you mean size?',
  ])
  expect(problemsOf(shop({ size: 'tiny' }), checker)).toEqual(['spec.size: must be one of small, large, not "tiny"'])
  expect(problemsOf(shop({ size: 'small', one: {} }), checker)).toHaveLength(1)
})

test('a CRD whose schema is broken keeps nothing else from being checked', () => {
  const broken = {
    type: 'object',
    properties: { spec: { type: 'object', properties: { a: { type: 'string', pattern: '(?P<x>' } } } },
  }
  const checker = new SchemaChecker('1.36', [
    crd(broken),
    object('apiextensions.k8s.io/v1', 'CustomResourceDefinition'),
  ])
  expect(checker.check(shop({ a: 'x' }))).toMatchObject({
    kind: 'unchecked',
    reason: expect.stringContaining('its schema cannot be used'),
  })
  expect(problemsOf(pod({}), checker)).toEqual([])
})

test.each(SCHEMA_VERSIONS)('the schemas of %s are all there and can be compiled', (version) => {
  const { kinds } = readKubernetesSchemas(version)
  const checker = new SchemaChecker(version)
  expect(kinds.size).toBeGreaterThan(100)
  for (const kind of kinds.keys()) {
    const cut = kind.lastIndexOf('/')
    const outcome = checker.check({
      apiVersion: kind.slice(0, cut),
      kind: kind.slice(cut + 1),
      metadata: { name: 'a' },
    })
    expect(outcome.kind, kind).toBe('checked')
  }
})

test('versions are read with and without their patch; others are refused with what there is', () => {
  expect([parseSchemaVersion('1.36'), parseSchemaVersion('v1.32.9')]).toEqual(['1.36', '1.32'])
  expect(() => parseSchemaVersion('1.20')).toThrow('there are no schemas of Kubernetes 1.20; there are of 1.32, 1.33')
})
