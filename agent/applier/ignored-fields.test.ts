import { create } from '@bufbuild/protobuf'
import { IgnoreRuleSchema } from '@fairlead/proto/common'
import { expect, test } from 'vitest'
import { declare, parseManifest, readDeclared } from './declared.ts'
import { leaveOut } from './ignored-fields.ts'

const deployments = {
  group: 'apps',
  version: 'v1',
  kind: 'Deployment',
  plural: 'deployments',
  namespaced: true,
  verbs: [],
}
const secrets = { group: '', version: 'v1', kind: 'Secret', plural: 'secrets', namespaced: true, verbs: [] }
const base = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', labels: { team: 'shop' } },
  spec: { replicas: 3, paused: true },
}
type Rule = Parameters<typeof create<typeof IgnoreRuleSchema>>[1]
const declaredWith = (rules: Rule[], object: object = base, annotation?: string, resource = deployments) => {
  const { metadata } = object as typeof base
  const annotations = annotation === undefined ? undefined : { 'fairlead.dev/ignore': annotation }
  const json = Buffer.from(JSON.stringify({ ...object, metadata: { ...metadata, annotations } }))
  const parsed = parseManifest({ json } as never)
  const whole = declare(parsed, resource, 'web', 'shop')
  const left = leaveOut(
    whole,
    parsed.object,
    rules.map((rule) => create(IgnoreRuleSchema, rule)),
  )
  return { whole, left, sent: readDeclared(left) }
}
const paths = ['spec.replicas']

test.for<[string, Rule, boolean]>([
  ['its group', { group: 'apps', paths }, true],
  ['any group', { group: '*', paths }, true],
  ['another group', { group: 'batch', paths }, false],
  ['the core group', { group: '', paths }, false],
  ['its kind', { group: 'apps', kind: 'Deployment', paths }, true],
  ['another kind', { group: 'apps', kind: 'StatefulSet', paths }, false],
  ['its name', { group: 'apps', name: 'web', paths }, true],
  ['another name', { group: 'apps', name: 'api', paths }, false],
  ['the namespace that was filled in', { group: 'apps', namespace: 'shop', paths }, true],
  ['another namespace', { group: 'apps', namespace: 'web', paths }, false],
])('a rule for %s', ([, rule, applies]) => {
  const { whole, left, sent } = declaredWith([rule])
  expect(sent.spec).toEqual(applies ? { paused: true } : { replicas: 3, paused: true })
  expect(left.hash === whole.hash).toBe(!applies)
  expect(left.ignored).toHaveLength(applies ? 1 : 0)
})

test('labels may be left to others, ours are sent all the same', () => {
  const { sent } = declaredWith([{ group: '*', paths: ['metadata.labels[*]'] }])
  expect(sent.metadata.labels).toEqual({
    'app.kubernetes.io/managed-by': 'fairlead',
    'fairlead.dev/application': 'web',
  })
})

test('a key of a Secret is left out however it is written', () => {
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's' },
    stringData: { token: 't' },
    data: { a: 'QQ==' },
  }
  const { sent } = declaredWith([{ kind: 'Secret', paths: ['data.token'] }], secret, undefined, secrets)
  expect(sent).toMatchObject({ data: { a: 'QQ==' } })
  expect(JSON.stringify(sent)).not.toContain('token')
})

test('the annotation names fields by commas, also with commas and quotes in brackets', () => {
  const { sent, left } = declaredWith([], base, ' spec.replicas, spec.list[port=80,protocol=TCP].x,data["a,b"] ')
  expect(sent.spec).toEqual({ paused: true })
  expect(left.ignored).toHaveLength(3)
  expect(left.refusal).toBeUndefined()
})

test.for(['', ' ', 'false'])('the annotation %j leaves nothing out', (annotation) => {
  const { sent, left } = declaredWith([], base, annotation)
  expect(sent.spec).toEqual(base.spec)
  expect(left.refusal).toBeUndefined()
})

test.for([
  ['True', '"True" is neither "true" nor a list of fields'],
  ['yes', 'is neither "true" nor a list of fields'],
  ['spec.replicas,spec..x', '"spec..x", character 6: expected the name of a field'],
  ['metadata.name', 'metadata.name says which object it is'],
])('the annotation %j is refused, and the object is kept as declared', ([annotation, message]) => {
  const { whole, left } = declaredWith([], base, annotation)
  expect(left.refusal).toMatchObject({ code: 'InvalidManifest', message: expect.stringContaining(message ?? '') })
  expect(left.refusal?.message).toContain('Deployment.apps shop/web: annotation fairlead.dev/ignore')
  expect(left.hash).not.toBe(whole.hash)
})
