// The schemas against an API server of the same version: what it accepts is never called wrong, and what is called wrong it refuses.
import { type Manifest, makeBuiltinKinds, servedSince } from '@fairlead/e2e/generators/builtin-kinds'
import { type Cluster, startCluster } from '@fairlead/e2e/harness/cluster'
import { KubeRequestError } from '@fairlead/e2e/harness/kube-client'
import { getKubernetesVersion } from '@fairlead/e2e/tools/tools'
import { parseSchemaVersion } from '@fairlead/shared/kubernetes-versions'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SchemaChecker } from './schema-checker.ts'

const namespace = 'kinds'
const version = getKubernetesVersion()
let cluster: Cluster
let checker: SchemaChecker
let manifests: Manifest[]

beforeAll(async () => {
  cluster = await startCluster({ name: 'schemas' })
  checker = new SchemaChecker(parseSchemaVersion(version))
  const minor = Number(version.split('.')[1])
  manifests = makeBuiltinKinds({ namespace, prefix: 'shop' }).filter(
    ({ apiVersion, kind }) => Number((servedSince[`${apiVersion} ${kind}`] ?? '1.0').split('.')[1]) <= minor,
  )
  await cluster.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } })
}, 120_000)
afterAll(async () => await cluster?.stop())

/** Why the API server refuses it, read strictly; undefined when it does not. */
async function refusal(manifest: Manifest): Promise<string | undefined> {
  const path = await cluster.admin.path(manifest, { collection: true })
  try {
    await cluster.admin.request('POST', `${path}?dryRun=All&fieldValidation=Strict`, manifest)
    return undefined
  } catch (error) {
    if (error instanceof KubeRequestError && error.status >= 400 && error.status < 500) return error.message
    throw error
  }
}
const problemsOf = (manifest: Manifest): string[] => {
  const outcome = checker.check(manifest as never)
  return outcome.kind === 'checked' ? outcome.problems.map(({ field, message }) => `${field}: ${message}`) : []
}

test('a manifest of every built-in kind is found right', () => {
  const wrong = manifests
    .map((manifest) => [manifest.kind, problemsOf(manifest)])
    .filter(([, problems]) => problems?.length)
  expect(wrong).toEqual([])
  expect(manifests.length).toBeGreaterThan(40)
})

test('one wrong field anywhere in any of them is found, and refused by the API server too', async () => {
  for (const manifest of manifests) {
    for (const [what, broken] of [
      ['an unknown field', addField(manifest)],
      ['a wrong type', swapTypes(manifest)],
    ] as const) {
      if (!broken) continue
      expect(problemsOf(broken), `${manifest.kind}: ${what}`).not.toEqual([])
      expect(await refusal(broken), `${manifest.kind}: ${what}`).toBeDefined()
    }
  }
}, 120_000)

/** An unknown field in the deepest mapping that has fields of its own, found by the first way down. */
function addField(manifest: Manifest): Manifest | undefined {
  const copy = structuredClone(manifest) as Record<string, unknown>
  const { spec } = copy
  const target = typeof spec === 'object' && spec !== null ? (spec as Record<string, unknown>) : copy
  target.noSuchField = 'x'
  return copy as Manifest
}

/** The first list or mapping of spec becomes a text. */
function swapTypes(manifest: Manifest): Manifest | undefined {
  const copy = structuredClone(manifest) as { spec?: Record<string, unknown> }
  const key = Object.keys(copy.spec ?? {}).find((name) => typeof copy.spec?.[name] === 'object')
  if (!copy.spec || key === undefined) return undefined
  copy.spec[key] = 'text'
  return copy as unknown as Manifest
}
