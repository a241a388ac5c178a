import { create, fromJson, type JsonValue } from '@bufbuild/protobuf'
import { ApplicationSpecSchema, OverrideSchema, RenderOptionsSchema } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { findOverrideProblems } from './override-rules.ts'

const problemsOf = (override: JsonValue, render?: JsonValue): string[] =>
  findOverrideProblems({
    overrides: [fromJson(OverrideSchema, override)],
    ...(render === undefined ? {} : { render: fromJson(RenderOptionsSchema, render) }),
  }).map(({ field, message }) => `${field} ${message}`)

const all = { clusters: {} }

test('what is right is taken', () => {
  expect(problemsOf({ ...all, path: 'overlays/eu' })).toEqual([])
  expect(
    problemsOf({ names: ['eu-1'], helm: { values: { a: null }, valueFiles: ['../eu.yaml'] } }, { helm: {} }),
  ).toEqual([])
  const kustomize = {
    patches: [{ patch: '- op: remove', target: { kind: 'Deployment' } }],
    images: [{ name: 'web', newTag: '1.2' }],
    replicas: [{ name: 'web', count: 0 }],
  }
  expect(problemsOf({ ...all, kustomize }, { kustomize: {} })).toEqual([])
  expect(findOverrideProblems(create(ApplicationSpecSchema))).toEqual([])
})

test.each([
  [{ path: 'a' }, undefined, 'spec.overrides[0] give exactly one of clusters'],
  [{ ...all, names: ['a'], path: 'a' }, undefined, 'spec.overrides[0] give exactly one of clusters'],
  [{ names: ['A'], path: 'a' }, undefined, 'spec.overrides[0].names[0] "A" is not a valid name'],
  [{ clusters: { matchLabels: { 'a b': 'c' } }, path: 'a' }, undefined, 'spec.overrides[0].clusters.matchLabels'],
  [all, undefined, 'spec.overrides[0] changes nothing'],
  [{ ...all, path: '../a' }, undefined, 'spec.overrides[0].path must not contain ".."'],
  [{ ...all, helm: { valueFiles: ['/a'] } }, undefined, 'spec.overrides[0].helm.valueFiles[0] must be relative'],
  [{ ...all, helm: { kubeVersion: 'one' } }, undefined, 'spec.overrides[0].helm.kubeVersion "one" is not a version'],
  [{ ...all, helm: {} }, { kustomize: {} }, 'spec.overrides[0].helm is for charts, but spec.render says kustomize'],
  [
    { ...all, kustomize: {} },
    { plain: {} },
    'spec.overrides[0].kustomize is for Kustomize folders, but spec.render says plain',
  ],
  [{ ...all, helm: {}, kustomize: {} }, undefined, 'spec.overrides[0] a folder is a chart or a kustomization'],
  [{ ...all, kustomize: { patches: [{}] } }, undefined, 'spec.overrides[0].kustomize.patches[0] patch is missing'],
  [
    { ...all, kustomize: { images: [{ newTag: '1' }] } },
    undefined,
    'spec.overrides[0].kustomize.images[0] name is missing',
  ],
  [
    { ...all, kustomize: { images: [{ name: 'a' }] } },
    undefined,
    'spec.overrides[0].kustomize.images[0] changes nothing',
  ],
  [
    { ...all, kustomize: { replicas: [{ name: 'a', count: -1 }] } },
    undefined,
    'spec.overrides[0].kustomize.replicas[0] count is less',
  ],
])('%j with render %j is refused: %s', (override, render, words) => {
  expect(problemsOf(override as never, render as never)).toContainEqual(expect.stringContaining(words))
})
