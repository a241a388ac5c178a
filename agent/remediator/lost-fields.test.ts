import { expect, test } from 'vitest'
import { type FieldSet, formatFieldPaths } from './field-set.ts'
import { declaredPart, emptyPart, findLostFields } from './lost-fields.ts'

const declared = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', namespace: 'shop', labels: { a: '1' } },
  spec: {
    replicas: 2,
    nothing: null,
    selector: { matchLabels: { app: 'd' } },
    containers: [
      { name: 'c', image: 'i', args: ['x'], env: [{ name: 'A', value: '1' }], ports: [{ containerPort: 80 }] },
    ],
    finalizers: ['one'],
    volumes: [{ name: 'v', emptyDir: {} }],
  },
}
const port = 'k:{"containerPort":80,"protocol":"TCP"}'
const container: FieldSet = {
  '.': {},
  'f:name': {},
  'f:image': {},
  'f:args': {},
  'f:env': { 'k:{"name":"A"}': { '.': {}, 'f:name': {}, 'f:value': {} } },
  'f:ports': { [port]: { '.': {}, 'f:containerPort': {} } },
}
const spec: FieldSet = {
  'f:replicas': {},
  'f:selector': {},
  'f:containers': { 'k:{"name":"c"}': container },
  'f:finalizers': { 'v:"one"': {} },
  'f:volumes': { 'k:{"name":"v"}': { '.': {}, 'f:name': {}, 'f:emptyDir': {} } },
}
const whole: FieldSet = { 'f:metadata': { 'f:labels': { 'f:a': {} } }, 'f:spec': spec }
const { 'f:image': _image, ...noImage } = container
const { 'f:replicas': _replicas, ...noReplicas } = spec
const { 'f:finalizers': _finalizers, ...noFinalizers } = spec
const { 'f:selector': _selector, ...noSelector } = spec

const withContainer = (inner: FieldSet): FieldSet => ({
  ...whole,
  'f:spec': { ...spec, 'f:containers': { 'k:{"name":"c"}': inner } },
})

test.for<[string, FieldSet, FieldSet, string[]]>([
  ['nothing is lost', whole, whole, []],
  ['replicas', { ...whole, 'f:spec': noReplicas }, whole, ['spec.replicas']],
  ['an image', withContainer(noImage), whole, ['spec.containers[name=c].image']],
  ['an atomic map', { ...whole, 'f:spec': noSelector }, { 'f:spec': { 'f:selector': {} } }, ['spec.selector']],
  ['a member of a set, whose name is not told', { ...whole, 'f:spec': noFinalizers }, whole, ['spec.finalizers[]']],
  ['a label', { 'f:spec': spec }, { 'f:spec': spec }, ['metadata.labels.a']],
  [
    'everything, nobody owning anything',
    {},
    {},
    [
      'metadata.labels.a',
      'spec.containers',
      'spec.finalizers',
      'spec.replicas',
      'spec.selector.matchLabels.app',
      'spec.volumes',
    ],
  ],
])('%s', ([, owned, known, paths]) => {
  expect(formatFieldPaths(findLostFields(declared, owned, known))).toEqual(paths)
})

test('of a container that was taken away, its own path is told', () => {
  const gone = { ...whole, 'f:spec': { ...spec, 'f:containers': {} as FieldSet } }
  const { 'f:containers': _gone, ...rest } = gone['f:spec']
  const paths = formatFieldPaths(findLostFields(declared, { ...whole, 'f:spec': rest }, {}))
  expect(paths).toEqual(['spec.containers'])
})

test('of what others own, only what is declared too', () => {
  const theirs: FieldSet = {
    'f:spec': { 'f:replicas': {}, 'f:other': {}, 'f:containers': { 'k:{"name":"c"}': { 'f:image': {}, 'f:tty': {} } } },
  }
  expect(declaredPart(theirs, declared)).toEqual({
    'f:spec': { 'f:replicas': {}, 'f:containers': { 'k:{"name":"c"}': { 'f:image': {} } } },
  })
})

test('what is declared empty and was filled by others is told apart from what was taken', () => {
  const object = {
    metadata: { annotations: {} },
    data: { a: '1' },
    spec: { list: [], containers: [{ name: 'c', env: [] }] },
  }
  const item = 'k:{"name":"c"}'
  const lost: FieldSet = {
    'f:metadata': { 'f:annotations': {} },
    'f:data': { 'f:a': {} },
    'f:spec': { 'f:list': {}, 'f:containers': { [item]: { 'f:env': {} } } },
  }
  const known: FieldSet = {
    'f:metadata': { 'f:annotations': { '.': {}, 'f:x': {} } },
    'f:data': { 'f:a': {} },
    'f:spec': { 'f:containers': { [item]: { 'f:env': { 'k:{"name":"A"}': {} } } } },
  }
  expect(emptyPart(lost, object, known)).toEqual({
    'f:metadata': { 'f:annotations': {} },
    'f:spec': { 'f:containers': { [item]: { 'f:env': {} } } },
  })
})
