// What the hub makes of charts and Kustomize folders equals what `helm template` and `kustomize build` print of them.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DEFAULT_KUBE_VERSION } from '@fairlead/server/renderer/kubernetes-apis'
import type { RunEngine } from '@fairlead/server/renderer/render'
import { createEngine, inputsOf, renderInputs } from '@fairlead/server/renderer/render.test-support'
import type { RenderOutcome } from '@fairlead/server/renderer/rendering'
import { canonicalJson } from '@fairlead/shared/digest'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chartFeatures, type GeneratedChart, makeChart } from '../generators/charts.ts'
import { makeOverlays } from '../generators/overlays.ts'
import { ensureTools } from '../tools/tools.ts'

let folder: string
let tools: Record<'helm' | 'helm3' | 'kustomize', string>
let run: RunEngine

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'fairlead-rendering-'))
  tools = await ensureTools(['helm', 'helm3', 'kustomize'])
  run = await createEngine()
}, 600_000)
afterAll(() => rmSync(folder, { recursive: true }))

function write(files: Readonly<Record<string, string | Uint8Array>>): string {
  const root = mkdtempSync(path.join(folder, 'tree-'))
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    writeFileSync(path.join(root, name), content)
  }
  return root
}

/** The objects, sorted, without what only Fairlead writes. */
function normalize({ artifact, problems }: RenderOutcome): string[] {
  expect(problems).toEqual([])
  return artifact.manifests
    .map(({ json }) => {
      const object = JSON.parse(Buffer.from(json).toString())
      const annotations = Object.entries(object.metadata.annotations ?? {})
      const kept = annotations.filter(([name]) => !name.startsWith('fairlead.dev/'))
      if (kept.length < annotations.length) object.metadata.annotations = Object.fromEntries(kept)
      return canonicalJson(object)
    })
    .sort()
}

/** What a tool printed, read as plain manifests are: so both are compared as the objects that would be applied. */
function readPrinted(text: string): string[] {
  return normalize(
    renderInputs(inputsOf({ 'all.yaml': text }, ['']), { application: 'x', path: '', namespace: 'shop' }),
  )
}

function helmTemplate({ files, valueFiles, overrides }: GeneratedChart): string {
  const root = write(files)
  writeFileSync(path.join(root, 'overrides.json'), JSON.stringify(overrides))
  const values = [...valueFiles, 'overrides.json'].flatMap((file) => ['--values', path.join(root, file)])
  const flags = ['--namespace', 'shop', '--include-crds', '--skip-tests', '--kube-version', DEFAULT_KUBE_VERSION]
  return execFileSync(tools.helm, ['template', 'web', root, ...flags, ...values], { encoding: 'utf8', stdio: 'pipe' })
}

function renderChart({ files, valueFiles, overrides }: GeneratedChart): RenderOutcome {
  const inputs = inputsOf(
    Object.fromEntries(Object.entries(files).map(([name, content]) => [`app/${name}`, content])),
    ['app'],
  )
  const render = { helm: { valueFiles, values: overrides, emptyLookup: true } }
  return renderInputs(inputs, { application: 'web', path: 'app', namespace: 'shop', render }, run)
}

describe('a chart is rendered as by helm template', () => {
  test.each(chartFeatures.map((feature) => [feature.name, feature] as const))('with %s', (name, feature) => {
    const chart = makeChart(name, [feature])
    const expected = readPrinted(helmTemplate(chart))
    expect(expected.length).toBeGreaterThan(0)
    expect(normalize(renderChart(chart))).toEqual(expected)
  })

  test('with any features together', () => {
    fc.assert(
      fc.property(fc.subarray([...chartFeatures], { minLength: 2 }), (features) => {
        const chart = makeChart('web', features)
        expect(normalize(renderChart(chart))).toEqual(readPrinted(helmTemplate(chart)))
      }),
      { numRuns: 25 },
    )
  })
})

describe('a folder is rendered as by kustomize build', () => {
  test.each(makeOverlays().map((overlay) => [overlay.name, overlay] as const))('with %s', (_name, overlay) => {
    const root = write(overlay.files)
    const printed = execFileSync(
      tools.kustomize,
      ['build', '--load-restrictor', 'LoadRestrictionsNone', path.join(root, overlay.path)],
      { encoding: 'utf8', stdio: 'pipe' },
    )
    const read = [overlay.path, ...overlay.elsewhere]
    const options = { application: 'web', path: overlay.path, namespace: 'shop' }
    expect(normalize(renderInputs(inputsOf(overlay.files, read), options, run))).toEqual(readPrinted(printed))
  })
})

const inflatedChart = {
  'web/Chart.yaml': 'apiVersion: v2\nname: web\nversion: 1.2.3\n',
  'web/values.yaml': 'size: 1\ncolour: blue\nlist: [a]\n',
  'web/crds/things.yaml': JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.example.com' },
    spec: { group: 'example.com', scope: 'Namespaced', names: { plural: 'things', kind: 'Thing' }, versions: [] },
  }),
  'web/templates/a.yaml': `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-a, namespace: {{ .Release.Namespace }}}
data:
  size: {{ .Values.size | quote }}
  colour: {{ .Values.colour | quote }}
  list: {{ .Values.list | join "," | quote }}
  kube: {{ .Capabilities.KubeVersion.Version }}
  has: {{ .Capabilities.APIVersions.Has "example.com/v1" | quote }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: web}}
`,
  'web/templates/test.yaml':
    'apiVersion: v1\nkind: Pod\nmetadata: {name: tested, annotations: {helm.sh/hook: test}}\nspec: {containers: []}\n',
}

describe('charts in a kustomization are rendered as by kustomize build --enable-helm', () => {
  const named = 'name: web, releaseName: web, skipTests: true'
  const kube = `kubeVersion: ${DEFAULT_KUBE_VERSION}`
  const cases: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    'as they are': { 'app/kustomization.yaml': `helmCharts: [{${named}, ${kube}}]\n` },
    'with CRDs, a namespace, and what comes after them': {
      'app/kustomization.yaml': `namePrefix: pre-
namespace: outer
helmCharts:
- {${named}, ${kube}, includeCRDs: true, namespace: inner, apiVersions: [example.com/v1]}
resources: [b.yaml]
patches: [{target: {kind: Service}, patch: '[{"op": "add", "path": "/spec/type", "value": "NodePort"}]'}]
`,
      'app/b.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n',
    },
    'with values inline and from files': {
      'app/kustomization.yaml': `helmCharts:
- {${named}, ${kube}, valuesFile: v.yaml, valuesInline: {size: 3, list: [x, y]}, additionalValuesFiles: [more.yaml]}
`,
      'app/v.yaml': 'size: 2\ncolour: red\n',
      'app/more.yaml': 'colour: green\n',
    },
    'with values that win the other way': {
      'app/kustomization.yaml': `helmCharts: [{${named}, ${kube}, valuesMerge: merge, valuesFile: v.yaml, valuesInline: {size: 3, colour: red}}]\n`,
      'app/v.yaml': 'size: 2\n',
    },
    'with values in place of all': {
      'app/kustomization.yaml': `helmCharts: [{${named}, ${kube}, valuesMerge: replace, valuesInline: {size: 3}}]\n`,
    },
    'twice, from a home of their own, in a base': {
      'app/kustomization.yaml': 'resources: [../base]\nnameSuffix: -x\nnamespace: over\n',
      'base/kustomization.yaml': `helmGlobals: {chartHome: ../lib}
helmCharts:
- {name: web, releaseName: one, skipTests: true, ${kube}}
- {name: web, releaseName: two, skipTests: true, ${kube}, valuesInline: {size: 9}}
`,
    },
  }
  test.each(Object.entries(cases))('%s', (_name, own) => {
    const home = 'base/kustomization.yaml' in own ? 'lib' : 'app/charts'
    const charts = Object.entries(inflatedChart).map(([file, content]) => [`${home}/${file}`, content])
    const files: Record<string, string> = { ...own, ...Object.fromEntries(charts) }
    const printed = execFileSync(
      tools.kustomize,
      [
        'build',
        '--enable-helm',
        '--helm-command',
        tools.helm3,
        '--load-restrictor',
        'LoadRestrictionsNone',
        path.join(write(files), 'app'),
      ],
      { encoding: 'utf8', stdio: 'pipe' },
    )
    const options = { application: 'web', path: 'app', namespace: 'shop' }
    expect(normalize(renderInputs(inputsOf(files, ['']), options, run))).toEqual(readPrinted(printed))
  })
})
