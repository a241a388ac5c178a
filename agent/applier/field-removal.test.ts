import { parseFieldPath } from '@fairlead/shared/field-path'
import { expect, test } from 'vitest'
import { removeFields, resolvePositions } from './field-removal.ts'

const containers = [
  { name: 'web', image: 'w:1', ports: [{ containerPort: 80 }], args: ['a', 'b'] },
  { name: 'side', image: 's:1' },
]
const object = () => ({
  metadata: { name: 'x', annotations: { 'example.com/note': '1' }, finalizers: ['a/hold', 'b/hold'] },
  spec: { replicas: 3, template: { spec: { containers: structuredClone(containers) } } },
  data: { a: '1', 'tls.crt': 'x' },
})
type Path = readonly (string | number)[]
/** The object without the values at these places. */
const without = (...places: Path[]) => {
  const copy: unknown = object()
  for (const place of places) {
    const parent = place.slice(0, -1).reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], copy)
    const last = place.at(-1) ?? ''
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else delete (parent as Record<string, unknown>)[last]
  }
  return copy
}
const CONTAINERS = ['spec', 'template', 'spec', 'containers'] as const

test.for<[string, Path[]]>([
  ['spec.replicas', [['spec', 'replicas']]],
  ['/spec/replicas', [['spec', 'replicas']]],
  ['spec.template.spec.containers[name=web].image', [[...CONTAINERS, 0, 'image']]],
  ['/spec/template/spec/containers/1/image', [[...CONTAINERS, 1, 'image']]],
  [
    'spec.template.spec.containers[*].image',
    [
      [...CONTAINERS, 0, 'image'],
      [...CONTAINERS, 1, 'image'],
    ],
  ],
  ['spec.template.spec.containers[name=side]', [[...CONTAINERS, 1]]],
  ['spec.template.spec.containers[name=web].ports[containerPort=80]', [[...CONTAINERS, 0, 'ports']]],
  ['spec.template.spec.containers[name=web].args[b]', [[...CONTAINERS, 0, 'args', 1]]],
  ['data[*]', [['data']]],
  ['data[tls.crt]', [['data', 'tls.crt']]],
  ['metadata.annotations[example.com/note]', [['metadata', 'annotations']]],
  ['metadata.finalizers[a/hold]', [['metadata', 'finalizers', 0]]],
  ['/metadata/finalizers/1', [['metadata', 'finalizers', 1]]],
  ['spec.template.spec.containers', [['spec', 'template']]],
])('%s takes out exactly that, and containers that only held it', ([path, places]) => {
  expect(removeFields(object(), [parseFieldPath(path)])).toEqual(without(...places))
})

test.for([
  'spec.nothing',
  'spec.replicas.deeper',
  'spec.template.spec.containers[name=none].image',
  'spec.template.spec.containers[name=web,image=other].image',
  '/spec/template/spec/containers/7',
  'spec.template.spec.containers.image',
  'data[tls]',
  'status.x',
])('%s names nothing, and nothing is copied', (path) => {
  const whole = object()
  expect(removeFields(whole, [parseFieldPath(path)])).toBe(whole)
})

test('what was empty before stays: only what a removal empties goes with it', () => {
  const volumes = { spec: { volumes: [{ name: 'v', emptyDir: {} }], list: [], map: {}, a: 1 } }
  expect(removeFields(volumes, [parseFieldPath('spec.a'), parseFieldPath('spec.map[*]')])).toEqual({
    spec: { volumes: [{ name: 'v', emptyDir: {} }], list: [], map: {} },
  })
})

test('a number that kept its digits is a value, not a map', () => {
  const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('12345678901234567890')
  const whole = { spec: { big: raw, other: 1 } }
  expect(JSON.stringify(removeFields(whole, [parseFieldPath('spec.big[*]')]))).toBe(
    '{"spec":{"big":12345678901234567890,"other":1}}',
  )
})

test('positions become what the declared item says of itself', () => {
  const [path] = resolvePositions(object(), [parseFieldPath('/spec/template/spec/containers/0/ports/0/hostPort')])
  expect(path?.slice(4)).toEqual([
    { kind: 'item', keys: { name: 'web', image: 'w:1' } },
    { kind: 'field', name: 'ports' },
    { kind: 'item', keys: { containerPort: '80' } },
    { kind: 'field', name: 'hostPort' },
  ])
  expect(resolvePositions(object(), [parseFieldPath('/metadata/finalizers/1')])[0]?.at(-1)).toEqual({
    kind: 'field',
    name: 'b/hold',
  })
  const beyond = parseFieldPath('/spec/template/spec/containers/9/image')
  expect(resolvePositions(object(), [beyond])).toEqual([beyond])
})

test('for any object and any paths: removing is idempotent, changes nothing else, and leaves the given object as it was', () => {
  let seed = 11
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return seed % below
  }
  const make = (depth: number): unknown => {
    const kind = depth === 0 ? 0 : random(3)
    if (kind === 0) return random(5)
    if (kind === 1) return Array.from({ length: random(4) }, (_, index) => ({ name: `i${index}`, v: make(depth - 1) }))
    return Object.fromEntries(Array.from({ length: random(4) }, (_, index) => [`k${index}`, make(depth - 1)]))
  }
  const steps = ['.k0', '.k1', '.k2', '[*]', '[name=i0]', '[name=i1]', '[1]', '.v']
  const leaves = (value: unknown, path = ''): string[] =>
    typeof value === 'object' && value !== null && Object.keys(value).length > 0
      ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}/${key}`))
      : [`${path}=${JSON.stringify(value)}`]
  for (let round = 0; round < 2_000; round++) {
    const whole = { spec: make(4), kind: 'X' }
    const before = JSON.stringify(whole)
    const path = parseFieldPath(
      `spec${Array.from({ length: 1 + random(4) }, () => steps[random(steps.length)]).join('')}`,
    )
    const once = removeFields(whole, [path])
    expect(JSON.stringify(whole)).toBe(before)
    // A position means another item once one before it has gone.
    if (path.every(({ kind }) => kind !== 'index')) expect(removeFields(once, [path])).toEqual(once)
    expect(leaves(once).length).toBeLessThanOrEqual(leaves(whole).length)
    expect(once).toMatchObject({ kind: 'X' })
  }
})
