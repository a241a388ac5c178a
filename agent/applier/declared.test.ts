import { expect, test } from 'vitest'
import { declare, findDefinedKind, parseManifest, readDeclared } from './declared.ts'
import { leaveOut } from './ignored-fields.ts'

const configMaps = { group: '', version: 'v1', kind: 'ConfigMap', plural: 'configmaps', namespaced: true, verbs: [] }
const manifest = (json: unknown) => ({ json: Buffer.from(typeof json === 'string' ? json : JSON.stringify(json)) })
const declared = (json: unknown, resource = configMaps) =>
  declare(parseManifest({ ...manifest(json) } as never), resource, 'web', 'shop')
const base = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { a: '1' } }

test('our labels and the namespace are added, everything else stays', () => {
  const object = readDeclared(
    declared({ ...base, metadata: { name: 'c', labels: { team: 'x' }, annotations: { n: '1' } } }),
  )
  expect(object).toEqual({
    ...base,
    metadata: {
      name: 'c',
      namespace: 'shop',
      annotations: { n: '1' },
      labels: { team: 'x', 'app.kubernetes.io/managed-by': 'fairlead', 'fairlead.dev/application': 'web' },
    },
  })
})

test('a namespace of its own stays; a cluster-scoped kind has none', () => {
  expect(declared({ ...base, metadata: { name: 'c', namespace: 'own' } }).namespace).toBe('own')
  const cluster = declared({ ...base, metadata: { name: 'c', namespace: 'own' } }, { ...configMaps, namespaced: false })
  expect([cluster.namespace, readDeclared(cluster).metadata.namespace]).toEqual(['', undefined])
})

test('what only the API server may write is left out', () => {
  const metadata = { name: 'c', uid: 'u', resourceVersion: '1', managedFields: [], creationTimestamp: null }
  const object = readDeclared(declared({ ...base, metadata, status: { x: 1 } }))
  expect(Object.keys(object.metadata).sort()).toEqual(['labels', 'name', 'namespace'])
  expect(object.status).toBeUndefined()
})

test('integers beyond 2^53 keep their digits', () => {
  const text =
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"spec":{"big":9007199254740993,"small":12,"f":1.5}}'
  const body = Buffer.from(declared(text).body).toString()
  expect(body).toContain('"big":9007199254740993')
  expect(body).toContain('"f":1.5')
})

test('the hash does not depend on the order of fields, and changes with any value', () => {
  const other = { kind: 'ConfigMap', data: { a: '1' }, metadata: { name: 'c' }, apiVersion: 'v1' }
  expect(declared(other).hash).toBe(declared(base).hash)
  expect(declared({ ...base, data: { a: '2' } }).hash).not.toBe(declared(base).hash)
})

test('annotations say what is special', () => {
  const annotations = { 'fairlead.dev/wave': '-3', 'fairlead.dev/merge': 'true', 'fairlead.dev/prune': 'disabled' }
  expect(declared({ ...base, metadata: { name: 'c', annotations } })).toMatchObject({
    wave: -3,
    merge: true,
    keep: true,
  })
  expect(declared({ ...base, metadata: { name: 'c', annotations: { 'fairlead.dev/wave': 'x' } } }).wave).toBe(0)
})

test('stringData of a Secret becomes data, as the API server would make it', () => {
  const secret = { ...base, kind: 'Secret', data: { a: 'b2xk', b: 'Yg==' }, stringData: { a: 'new' } }
  const object = readDeclared(declared(secret, { ...configMaps, kind: 'Secret' }))
  expect([object.data, object.stringData]).toEqual([{ a: 'bmV3', b: 'Yg==' }, undefined])
})

test.for([
  'null',
  '[]',
  '{}',
  '{"apiVersion":"v1","kind":"X","metadata":{}}',
  '{"apiVersion":1,"kind":"X","metadata":{"name":"n"}}',
])('%s is refused', (json) => {
  expect(() => parseManifest(manifest(json) as never)).toThrow(/not a Kubernetes object/)
})

test('a CRD says which kind it defines', () => {
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'widgets.e.com' },
    spec: { group: 'e.com', scope: 'Cluster', names: { kind: 'Widget', plural: 'widgets' } },
  }
  expect(findDefinedKind(parseManifest(manifest(crd) as never))).toEqual({
    group: 'e.com',
    kind: 'Widget',
    plural: 'widgets',
    namespaced: false,
  })
  expect(findDefinedKind(parseManifest(manifest(base) as never))).toBeUndefined()
})

test('the hash of what was decrypted is made of the encrypted text, also where fields are left to others', () => {
  const parsed = parseManifest(manifest(base) as never)
  const annotated = { ...base, metadata: { name: 'c', annotations: { 'fairlead.dev/ignore': 'data.b' } } }
  for (const object of [base, annotated]) {
    const [one, two] = ['1', '2'].map((a) => {
      const clear = { ...object, data: { a } }
      const sealed = { ...object, data: { a: 'ENC[...]' } }
      return leaveOut(declare({ ...parsed, object: clear, sealed }, configMaps, 'web', 'shop'), clear, [])
    })
    expect(one?.hash).toBe(two?.hash)
    expect([one?.sensitive, Buffer.from(one?.body ?? []).toString()]).toEqual([
      true,
      expect.stringContaining('"a":"1"'),
    ])
  }
})
