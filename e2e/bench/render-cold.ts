// Render, cold: a hub that has rendered nothing yet is started with 500 applications, a third each plain YAML, Kustomize and
// Helm. Beside it the bare programs over the same folders, two at a time, as the hub renders.
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { runCommand, startFleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition, configMap, deployment, service } from '../scenarios/manifests.ts'
import { ensureTools } from '../tools/tools.ts'
import { readHubLog } from './hub-log.ts'
import { type Report, tenths } from './report.ts'
import { createWebhooks } from './webhook.ts'

const applications = 500
const concurrency = 2
const tools = ['plain', 'kustomize', 'helm'] as const

/** Runs the benchmark. */
export async function benchRenderCold(): Promise<Report> {
  const webhooks = await createWebhooks()
  await using fleet = await startFleet({ hubFlags: [...webhooks.hubFlags, '--log-level=debug'] })
  const repository = fleet.git.createRepository('monorepo')
  const names = Array.from({ length: applications }, (_, index) => `${tools[index % tools.length]}-${index}`)
  repository.commit(Object.assign({}, ...names.map(filesOf)))
  const bareMs = await renderBare(repository, names)
  // So that the hub knows what there is to do and can do nothing of it.
  await fleet.git.setFault('down')
  await fleet.apply(webhooks.define(fleet, repository))
  await fleet.apply(names.map((name) => applicationDefinition(name, { repository: 'monorepo' })).join(''))
  await fleet.stopHub()
  await fleet.git.setFault('none')
  await fleet.startHub()
  const rendered = () => readHubLog(fleet).filter(({ outcome }) => outcome === 'rendered')
  await waitFor(
    'all applications to be rendered',
    (see) => {
      const { length } = rendered()
      see(`${length} are`)
      return length === applications
    },
    { timeoutMs: 600_000, intervalMs: 250, alive: [fleet.hub] },
  )
  const fetched = readHubLog(fleet).find(({ msg }) => msg === 'repository fetched')
  const last = rendered().at(-1)
  if (!fetched || !last) throw new Error('the hub has logged no fetch')
  const [bad] = fleet.query('SELECT count(*) AS count FROM renders WHERE artifact_digest IS NULL OR incomplete')
  if (bad?.count !== 0) throw new Error(`${bad?.count} applications were not rendered well`)
  const ms = last.time - fetched.time
  const rssMiB = tenths(fleet.hub.usage().peakRssBytes / 2 ** 20)
  const ratio = Math.round((ms / bareMs) * 100) / 100
  return {
    rows: [
      [`${applications} applications by the bare programs, ${concurrency} at a time`, `${Math.round(bareMs)} ms`, ''],
      ['by the hub, from the fetch to the last', `${ms} ms`, `${ratio} x bare, bound 0.5`],
      ['resident memory of the hub, largest', `${rssMiB} MiB`, ''],
    ],
    json: { bench: 'render-cold', applications, ms, bareMs: Math.round(bareMs), ratio, rssMiB },
  }
}

/** Milliseconds for all of them, each by its own process; plain folders are read. */
async function renderBare({ workTree }: GitRepository, names: readonly string[]): Promise<number> {
  const { helm, kustomize } = await ensureTools(['helm', 'kustomize'])
  const env = { PATH: process.env.PATH ?? '', HOME: workTree }
  const render = async (name: string): Promise<void> => {
    const folder = path.join(workTree, name)
    if (name.startsWith('plain')) {
      for (const file of await readdir(folder)) await readFile(path.join(folder, file))
      return
    }
    const [command, args] = name.startsWith('helm')
      ? ([helm, ['template', name, folder, '--namespace', name]] as const)
      : ([kustomize, ['build', folder]] as const)
    const { code, stderr } = await runCommand(command, args, { env })
    if (code !== 0) throw new Error(`${name}: ${stderr}`)
  }
  const startedAt = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      for (let name = names[next++]; name !== undefined; name = names[next++]) await render(name)
    }),
  )
  return performance.now() - startedAt
}

/** A Deployment, a Service and ConfigMaps, by the tool that the name begins with. */
function filesOf(name: string): Record<string, string> {
  if (name.startsWith('helm')) return chartOf(name)
  const objects = {
    'deployment.yaml': deployment(name, 'web:1.0'),
    'service.yaml': service(name, 80),
    'config.yaml': configMap(name, { name, filler: 'x'.repeat(500) }),
  }
  const below = (folder: string): Record<string, string> =>
    Object.fromEntries(Object.entries(objects).map(([file, content]) => [`${folder}/${file}`, content]))
  if (name.startsWith('plain')) return below(name)
  const kustomization = {
    namePrefix: 'prod-',
    labels: [{ pairs: { team: 'shop' } }],
    images: [{ name: 'web', newTag: '2.0' }],
    resources: Object.keys(objects),
    patches: [
      { target: { kind: 'Deployment' }, patch: JSON.stringify([{ op: 'replace', path: '/spec/replicas', value: 3 }]) },
    ],
    configMapGenerator: [{ name: 'settings', literals: [`name=${name}`] }],
  }
  return { ...below(name), [`${name}/kustomization.yaml`]: JSON.stringify(kustomization) }
}

function chartOf(name: string): Record<string, string> {
  const helpers = '{{ define "labels" }}{app: {{ .Release.Name }}, chart: {{ .Chart.Name }}}{{ end }}'
  const metadata = '{name: {{ .Release.Name }}, labels: {{ include "labels" . }}}'
  return {
    [`${name}/Chart.yaml`]: `apiVersion: v2\nname: ${name}\nversion: 1.0.0\n`,
    [`${name}/values.yaml`]: `replicas: 3\nimage: {name: web, tag: "1.0"}\nsettings: {name: ${name}, filler: ${'x'.repeat(500)}}\n`,
    [`${name}/templates/_helpers.tpl`]: helpers,
    [`${name}/templates/deployment.yaml`]: `apiVersion: apps/v1
kind: Deployment
metadata: ${metadata}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {{ include "labels" . }}}
  template:
    metadata: {labels: {{ include "labels" . }}}
    spec:
      containers:
      - name: main
        image: "{{ .Values.image.name }}:{{ .Values.image.tag }}"
        env:
        {{- range $key, $value := .Values.settings }}
        - {name: {{ $key | upper }}, value: {{ $value | quote }}}
        {{- end }}
`,
    [`${name}/templates/service.yaml`]: `apiVersion: v1
kind: Service
metadata: ${metadata}
spec: {selector: {{ include "labels" . }}, ports: [{name: http, port: 80}]}
`,
    [`${name}/templates/config.yaml`]: `apiVersion: v1
kind: ConfigMap
metadata: ${metadata}
data: {{ toYaml .Values.settings | nindent 2 }}
`,
  }
}
