// fairlead validate on folders of a disk: no hub, no cluster.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from '../test-support/run-cli.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'fairlead-validate-'))
  write('.git/HEAD', 'ref: refs/heads/main\n')
})
afterEach(() => rmSync(folder, { recursive: true }))

function write(file: string, text: string): void {
  mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
  writeFileSync(path.join(folder, file), text)
}
const at = (file: string): string => path.join(folder, file)
const lines = (stdout: string): string[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll(`${path.relative(process.cwd(), folder)}/`, ''))
const run = async (...args: string[]) => await runCli(['validate', ...args])

const configMap = (name: string, value = '"1"') =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata:\n  value: ${value}\n`
const application = (name: string, more = '') =>
  `apiVersion: fairlead.dev/v1alpha1\nkind: Application\nmetadata: {name: ${name}}\nspec:\n  source: {repository: shop, path: ${name}}\n  placement: {clusters: {}}\n${more}`
const repository = `apiVersion: fairlead.dev/v1alpha1\nkind: Repository\nmetadata: {name: shop}\nspec: {url: "https://git.example.com/shop.git"}\n`

test('manifests that are right are said to be so, with exit code 0', async () => {
  write('web/a.yaml', `${configMap('a')}---\n${configMap('b')}`)
  expect(await run(at('web'))).toMatchObject({ code: 0, stdout: 'nothing is wrong in 2 objects, 1 folder\n' })
})

test('each problem is told with file, line, object and field, in the order of files, with exit code 8', async () => {
  write('web/b.yaml', `${configMap('a')}---\n${configMap('a', '1')}`)
  write('web/a.yaml', `${configMap('ok')}---\n${configMap('wrong', 'true')}---\nkind: Nothing\nmetadata: {name: x}\n`)
  write('web/broken.yaml', 'a: [\n')
  const { code, stdout } = await run(at('web'))
  expect(code).toBe(8)
  expect(lines(stdout)).toEqual([
    'error: web/a.yaml:11: ConfigMap wrong: data.value: must be a string, not true (Kubernetes 1.36)',
    expect.stringMatching(/^error: web\/a\.yaml:13: .*apiVersion/),
    expect.stringMatching(/^error: web\/b\.yaml:7: ConfigMap a: declared before, in web\/b\.yaml line 1/),
    expect.stringMatching(/^error: web\/broken\.yaml:\d+: /),
    '4 problems in 3 objects, 1 folder',
  ])
})

describe('definitions', () => {
  test('are checked by the rules of the hub, together, and each file that is no YAML is named', async () => {
    write('fleet/shop.yaml', repository)
    write('fleet/web.yaml', application('web', '  dependsOn: [api]\n  rollaut: {}\n'))
    write('fleet/api.yaml', application('api'))
    write('fleet/z.yaml', 'x: "\n')
    const { code, stdout } = await run(at('fleet'))
    expect(code).toBe(8)
    expect(lines(stdout)).toEqual([
      expect.stringMatching(/^error: fleet\/web\.yaml:8: Application\/web: spec\.rollaut: unknown field/),
      expect.stringMatching(/^error: fleet\/z\.yaml:\d+: not valid YAML/),
      '2 problems in 2 definitions',
    ])
  })

  test("name folders of a working copy, which are tried in the application's namespace", async () => {
    write('fleet/all.yaml', `${repository}---\n${application('web')}---\n${application('gone')}`)
    write('web/a.yaml', configMap('a', '5'))
    const { code, stdout } = await run(at('fleet'), '--repository', `shop=${folder}`)
    expect(code).toBe(8)
    expect(lines(stdout)).toEqual([
      expect.stringMatching(/^error: gone: there is no gone/),
      'error: web/a.yaml:5: ConfigMap a: data.value: must be a string, not 5 (Kubernetes 1.36)',
      '2 problems in 3 definitions, 1 object, 2 folders',
    ])
  })
})

test('versions are compared together, and none by --no-schemas', async () => {
  write('web/a.yaml', 'apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: a}\nspec: {}\n')
  const { stdout } = await run(at('web'), '-k', '1.32,1.36')
  expect(stdout).toContain('(Kubernetes 1.32)\n')
  expect((await run(at('web'), '--no-schemas')).code).toBe(0)
  expect(await run(at('web'), '-k', '1.2')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no schemas of Kubernetes 1.2'),
  })
})

test('custom resources without a schema are noted, and are problems by --strict; --crds brings one', async () => {
  write('web/a.yaml', 'apiVersion: example.com/v1\nkind: Shop\nmetadata: {name: a}\nspec: {size: 1}\n')
  const schema = '{type: object, properties: {spec: {type: object, properties: {size: {type: string}}}}}'
  write(
    'crds/shop.yaml',
    `apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: shops.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Shop, plural: shops}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: ${schema}}}]\n`,
  )
  const noted = await run(at('web'))
  expect(noted).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('note: no schema for Shop.example.com a: its kind is not built in'),
  })
  expect((await run(at('web'), '--strict')).code).toBe(8)
  const checked = await run(at('web'), '--crds', at('crds'))
  expect(lines(checked.stdout)[0]).toBe(
    'error: web/a.yaml:4: Shop.example.com a: spec.size: must be a string, not 1 (Kubernetes 1.36)',
  )
})

test('charts and Kustomize folders are rendered as the hub renders them, with bases elsewhere in the working copy', async () => {
  write('chart/Chart.yaml', 'apiVersion: v2\nname: shop\nversion: 1.0.0\n')
  write('chart/values.yaml', 'size: 5\n')
  write(
    'chart/templates/a.yaml',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {size: {{ .Values.size }}}\n',
  )
  write('base/kustomization.yaml', 'resources: [a.yaml]\n')
  write('base/a.yaml', configMap('a', '7'))
  write('overlay/kustomization.yaml', 'resources: [../base]\nnamePrefix: eu-\n')
  const { code, stdout } = await run(at('chart'), at('overlay'))
  expect(code).toBe(8)
  expect(stdout).toMatch(/chart\/templates\/a\.yaml: ConfigMap chart: data\.size: must be a string, not 5/)
  expect(stdout).toMatch(/base\/a\.yaml:\d+: ConfigMap eu-a: data\.value: must be a string, not 7/)
  expect(stdout).toContain('2 problems in 2 objects, 2 folders')
  // The engine has to be compiled once.
}, 60_000)

test('links that lead out of the working copy are not followed', async () => {
  const secret = mkdtempSync(path.join(tmpdir(), 'fairlead-secret-'))
  writeFileSync(path.join(secret, 'a.yaml'), configMap('stolen'))
  write('web/ok.yaml', configMap('a'))
  symlinkSync(path.join(secret, 'a.yaml'), at('web/absolute.yaml'))
  symlinkSync(`../../${path.basename(secret)}/a.yaml`, at('web/relative.yaml'))
  const { code, stdout } = await run(at('web'))
  rmSync(secret, { recursive: true })
  expect(code).toBe(8)
  expect(stdout.match(/the link leads out of the repository/g)).toHaveLength(2)
  expect(stdout).not.toContain('stolen')
  expect(stdout).toContain('2 problems in 1 object')
})

test('JSON, JUnit and SARIF say the same', async () => {
  write('web/a.yaml', configMap('a<b', '1'))
  write('web/b.yaml', configMap('b', '2'))
  const json = JSON.parse((await run(at('web'), '-o', 'json')).stdout) as {
    valid: boolean
    findings: { code: string; line: number }[]
  }
  expect(json.valid).toBe(false)
  expect(json.findings.map(({ line }) => line).at(-1)).toBe(5)
  const sarif = JSON.parse((await run(at('web'), '-o', 'sarif')).stdout) as {
    version: string
    runs: { results: { ruleId: string }[] }[]
  }
  expect(sarif.version).toBe('2.1.0')
  expect(sarif.runs[0]?.results.map(({ ruleId }) => ruleId)).toEqual(json.findings.map(({ code }) => code))
  const junit = (await run(at('web'), '-o', 'junit')).stdout
  expect(junit.match(/<failure /g)).toHaveLength(json.findings.length)
  expect(junit).not.toContain('a<b')
})

test('a path that is not there is a usage error', async () => {
  expect(await run(at('nowhere'))).toMatchObject({ code: 2, stderr: expect.stringContaining('no such file or folder') })
})
