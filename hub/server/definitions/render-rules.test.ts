// What is refused of spec.render, by table.
import { create } from '@bufbuild/protobuf'
import { RenderOptionsSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { findRenderProblems } from './render-rules.ts'

type Init = Parameters<typeof create<typeof RenderOptionsSchema>>[1]

const problems = (options: Init) =>
  findRenderProblems(create(RenderOptionsSchema, options)).map(({ field, message }) => `${field} ${message}`)

test('options as they should be are accepted', () => {
  expect(findRenderProblems(undefined)).toEqual([])
  expect(problems({})).toEqual([])
  expect(problems({ kustomize: {} })).toEqual([])
  expect(
    problems({
      helm: {
        releaseName: 'web-2.x',
        valueFiles: ['values.yaml', '../../all.yaml', './-x.yaml'],
        values: { a: 1 },
        capabilities: 'cluster',
        kubeVersion: 'v1.34.4-gke.1',
        apiVersions: ['v1', 'apps/v1', 'monitoring.coreos.com/v1/ServiceMonitor', 'x.io/v1beta2'],
      },
    }),
  ).toEqual([])
})

test.each<[string, Init]>([
  ['spec.render give one of plain, kustomize and helm, not plain and helm', { plain: {}, helm: {} }],
  ['spec.render.helm.releaseName "Web" is not the name of a release', { helm: { releaseName: 'Web' } }],
  ['spec.render.helm.releaseName "--set" is not', { helm: { releaseName: '--set' } }],
  ['spec.render.helm.releaseName', { helm: { releaseName: 'x'.repeat(54) } }],
  ['spec.render.helm.valueFiles[1] is empty', { helm: { valueFiles: ['a', ''] } }],
  ['spec.render.helm.valueFiles[0] must be relative', { helm: { valueFiles: ['/etc/passwd'] } }],
  [
    'spec.render.helm.valueFiles[0] "https://example.com/v.yaml" is remote',
    { helm: { valueFiles: ['https://example.com/v.yaml'] } },
  ],
  ['spec.render.helm.valueFiles[0] "secrets://x" is remote', { helm: { valueFiles: ['secrets://x'] } }],
  [
    'spec.render.helm.valueFiles[0] "--post-renderer=x" begins like an option',
    { helm: { valueFiles: ['--post-renderer=x'] } },
  ],
  ['spec.render.helm.valueFiles[0] must not contain a backslash', { helm: { valueFiles: ['a\\b'] } }],
  ['spec.render.helm.valueFiles are more than 50', { helm: { valueFiles: Array.from({ length: 51 }, () => 'a') } }],
  ['spec.render.helm.capabilities "Cluster" is not "cluster"', { helm: { capabilities: 'Cluster' } }],
  ['spec.render.helm.kubeVersion "latest" is not a version', { helm: { kubeVersion: 'latest' } }],
  ['spec.render.helm.apiVersions[0] "apps" is neither', { helm: { apiVersions: ['apps'] } }],
])('%s', (start, options) => {
  const found = problems(options)
  expect(found).toHaveLength(1)
  expect(found[0]?.slice(0, start.length)).toBe(start)
})
