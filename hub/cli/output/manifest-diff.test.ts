import { create } from '@bufbuild/protobuf'
import { RenderedManifestSchema } from '@fairlead/proto/applications'
import { expect, test } from 'vitest'
import { diffManifests } from './manifest-diff.ts'

const side = (title: string, ...objects: readonly object[]) => ({
  title,
  manifests: objects.map((object) => create(RenderedManifestSchema, { json: JSON.stringify(object) })),
})
const configMap = (name: string, data: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'web' },
  data,
})
const secret = (data: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 's' },
  stringData: data,
})

test('equal sides have no differences, whatever the order of objects and keys', () => {
  const [a, b] = [configMap('a', { x: '1', y: '2' }), configMap('b', {})]
  expect(diffManifests(side('eu', a, b), side('us', b, configMap('a', { y: '2', x: '1' })))).toEqual([])
})

test('what differs, comes and goes is shown as a unified diff, with both sides named', () => {
  const [changed, gone] = diffManifests(
    side('eu', configMap('a', { x: '1' }), configMap('b', { only: 'eu' })),
    side('us', configMap('a', { x: '2' })),
  )
  expect(changed).toContain('--- eu: ConfigMap web/a\n+++ us: ConfigMap web/a\n')
  expect(changed).toContain("-  x: '1'\n+  x: '2'\n")
  expect(gone).toContain('--- eu: ConfigMap web/b\n+++ /dev/null\n')
})

test('of Secrets only is said which values differ', () => {
  const [text = ''] = diffManifests(
    side('eu', secret({ same: 'hunter2', other: 'one' })),
    side('us', secret({ same: 'hunter2', other: 'two' })),
  )
  expect(text).not.toMatch(/hunter2|one|two/)
  expect(text).toMatch(/^- {2}other: \(hidden, /m)
  expect(text).toMatch(/^ {3}same: \(hidden, /m)
})

test('control characters of a repository do not reach the terminal', () => {
  const [text = ''] = diffManifests(side('eu'), side('us', configMap('a', { x: '\u001b[2J' })))
  expect(text).not.toContain('\u001b')
})
