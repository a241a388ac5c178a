import { describe, expect, test } from 'vitest'
import { type FieldPath, formatFieldPath, type PathStep, parseFieldPath } from './field-path.ts'

const field = (name: string): PathStep => ({ kind: 'field', name })
const index = (number: number): PathStep => ({ kind: 'index', index: number })
const item = (keys: Record<string, string>): PathStep => ({ kind: 'item', keys })
const any: PathStep = { kind: 'any' }
const container = [field('spec'), field('template'), field('spec'), field('containers')]

describe('a path is read as it is meant', () => {
  test.for<[string, FieldPath]>([
    ['/spec/replicas', [field('spec'), field('replicas')]],
    ['spec.replicas', [field('spec'), field('replicas')]],
    ['spec.template.spec.containers[name=web].image', [...container, item({ name: 'web' }), field('image')]],
    ['/spec/template/spec/containers/0/image', [...container, index(0), field('image')]],
    ['spec.template.spec.containers[0].image', [...container, index(0), field('image')]],
    ['spec.template.spec.containers[*].resources', [...container, any, field('resources')]],
    ['data[*]', [field('data'), any]],
    ['data[tls.crt]', [field('data'), field('tls.crt')]],
    ['data["a]b"]', [field('data'), field('a]b')]],
    ['metadata.annotations[example.com/note]', [field('metadata'), field('annotations'), field('example.com/note')]],
    ['/metadata/annotations/example.com~1note', [field('metadata'), field('annotations'), field('example.com/note')]],
    ['/data/a~0b~1c', [field('data'), field('a~b/c')]],
    [
      'spec.ports[port=80,protocol=TCP].nodePort',
      [field('spec'), field('ports'), item({ port: '80', protocol: 'TCP' }), field('nodePort')],
    ],
    [
      'webhooks[name="a.example.com"].clientConfig.caBundle',
      [field('webhooks'), item({ name: 'a.example.com' }), field('clientConfig'), field('caBundle')],
    ],
    ['metadata.labels[*]', [field('metadata'), field('labels'), any]],
    ['metadata.finalizers[example.com/hold]', [field('metadata'), field('finalizers'), field('example.com/hold')]],
  ])('%s', ([text, path]) => {
    expect(parseFieldPath(text)).toEqual(path)
  })
})

describe('what is no path is refused, with the place', () => {
  test.for([
    ['', 'is empty'],
    ['spec..replicas', 'character 6: expected the name of a field'],
    ['spec.', 'character 6: expected the name of a field'],
    ['.spec', 'character 1: expected the name of a field'],
    ['spec.containers[name=web', 'character 16: "[" is not closed'],
    ['spec.containers[]', 'character 16: there is nothing between the brackets'],
    ['spec.containers[name=]', 'character 16: "name=" is not <field>=<value>'],
    ['spec.containers[=web]', 'character 16: "=web" is not <field>=<value>'],
    ['spec.*', 'character 6: "*" is written in brackets: [*]'],
    ['spec replicas', 'character 5: expected "." or "["'],
    ['metadata.annotations.example.com/note', 'character 33: a name with "/" is written in brackets'],
    ['/spec//replicas', 'character 7: a part is empty'],
    ['/spec/', 'character 7: a part is empty'],
    ['/', 'character 2: a part is empty'],
    ['/data/a~2', 'character 8: "~" must be written ~0'],
    ['/spec/list/-', 'character 12: "-" names no item'],
    ['[*]', 'must begin with the name of a field'],
    ['kind', 'kind says which object it is'],
    ['/apiVersion', 'apiVersion says which object it is'],
    ['metadata', 'metadata holds the name of the object'],
    ['metadata[*]', 'names all of metadata'],
    ['/metadata/name', 'metadata.name says which object it is'],
    ['metadata.namespace', 'metadata.namespace says which object it is'],
    ['metadata.labels[fairlead.dev/application]', 'is how Fairlead knows the object'],
    ['/metadata/labels/app.kubernetes.io~1managed-by', 'is how Fairlead knows the object'],
    [`spec.${'a'.repeat(1_024)}`, 'is longer than 1024 characters'],
  ] as const)('%s', ([text, message]) => {
    expect(() => parseFieldPath(text)).toThrow(message)
  })
})

test('a path that is written out and read again is the same path', () => {
  const names = ['spec', 'a-b', 'example.com/note', 'with "quotes"', 'a]b', '0', 'ünicode', 'x y', '$ref']
  let seed = 7
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return seed % below
  }
  const step = (): PathStep =>
    [
      () => field(names[random(names.length)] ?? ''),
      () => any,
      () => index(random(20)),
      () => item({ name: `n${random(9)}`, port: String(random(99)) }),
    ][random(4)]?.() ?? any
  for (let round = 0; round < 2_000; round++) {
    const path = [field('spec'), ...Array.from({ length: random(6) }, step)]
    expect(parseFieldPath(formatFieldPath(path)), formatFieldPath(path)).toEqual(path)
  }
})
