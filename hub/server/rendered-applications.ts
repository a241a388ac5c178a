// What a cluster is given of an application, and where that comes from: for people who ask.
import { create, fromBinary, fromJsonString } from '@bufbuild/protobuf'
import {
  type RenderApplicationRequest,
  type RenderApplicationResponse,
  RenderApplicationResponseSchema,
  ValueOriginSchema,
} from '@fairlead/proto/applications'
import { type Problem, type Revision, RevisionSchema } from '@fairlead/proto/common'
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import { type Artifact, ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { openArtifact } from '@fairlead/shared/artifact'
import { AppError } from '@fairlead/shared/errors'
import { load } from 'js-yaml'
import { otherSourcesOf } from './application-sources.ts'
import { putInVariables } from './cluster-manifests.ts'
import type { Labels } from './label-selector.ts'
import { InputsReader, type InputsSource, type OtherCommit } from './render-inputs.ts'
import { type RenderTarget, readAndRender, withCapabilities } from './render-stage.ts'
import { findValueFilesElsewhere, findValueLayers } from './renderer/render-by-engine.ts'
import { chooseTool } from './renderer/render-tool.ts'
import type { Renderer } from './renderer/renderer.ts'
import { formatValuePath, traceValues, type ValueLayer } from './renderer/value-origins.ts'
import { readApplicationSpec, readProblems } from './store/definition-rows.ts'
import type { Store } from './store/store.ts'
import { type Variant, variantOf } from './variants.ts'
import { targetAt } from './whole-commits.ts'

/** Tells what clusters are given. */
export interface RenderedApplications {
  /** What a cluster is given of an application. Throws NotFound when there is no such application or cluster, or nothing was rendered for it yet; rejects with Aborted. */
  render(
    request: Pick<RenderApplicationRequest, 'application' | 'cluster' | 'revision'>,
    signal: AbortSignal,
  ): Promise<RenderApplicationResponse>
}

/** What it reads. */
export interface RenderedApplicationsOptions {
  readonly store: Store
  readonly trees: InputsSource
  readonly renderer: Renderer
}

/** Makes it. */
export function createRenderedApplications(options: RenderedApplicationsOptions): RenderedApplications {
  const { store, trees } = options
  return {
    render: async ({ application, cluster: clusterName, revision }, signal) => {
      const cluster = await findCluster(store, clusterName)
      const spec = await findSpec(store, application)
      const variant = variantOf(spec, cluster)
      const { indexes } = variant
      const given =
        revision === ''
          ? await findGiven(store, { application, cluster, variant })
          : await renderAt(options, { application, spec, variant, revision }, signal)
      const others = await findOthers(store, spec)
      const target = await withCapabilities(
        store,
        targetAt(application, spec, { commit: given.revision.commit, others, variant }),
      )
      const { capabilities } = target
      const { manifests, used, faults } = putInVariables(given.artifact.manifests, spec, cluster)
      return create(RenderApplicationResponseSchema, {
        revision: given.revision,
        path: target.path,
        manifests: [...manifests],
        overrides: [...indexes],
        values: await findValues(trees, { target, indexes }, signal),
        variables: [...used].sort(),
        problems: [...given.problems, ...faults],
        ...(capabilities ? { capabilities: { ...capabilities, apiVersions: [...capabilities.apiVersions] } } : {}),
      })
    },
  }
}

interface Cluster {
  readonly id: string
  readonly name: string
  readonly labels: Labels
  readonly values: Labels
  readonly capabilities: string
}

async function findCluster({ db }: Store, name: string): Promise<Cluster> {
  const row = await db.selectFrom('clusters').selectAll().where('name', '=', name).executeTakeFirst()
  if (!row) throw new AppError('NotFound', `there is no cluster ${JSON.stringify(name.slice(0, 80))}`)
  return {
    id: row.id,
    name,
    labels: JSON.parse(row.labels) as Labels,
    values: JSON.parse(row.cluster_values) as Labels,
    capabilities: row.capabilities,
  }
}

async function findSpec({ db }: Store, name: string): Promise<ApplicationSpec> {
  const row = await db.selectFrom('applications').select('spec').where('name', '=', name).executeTakeFirst()
  if (!row) throw new AppError('NotFound', `there is no Application ${JSON.stringify(name.slice(0, 80))}`)
  return readApplicationSpec(row.spec)
}

interface Given {
  readonly revision: Revision
  readonly artifact: Artifact
  readonly problems: readonly Problem[]
}

/** What another revision would give; nothing of it is kept. Throws InvalidArgument for what is neither a commit id nor a ref that is followed, or as the render does. */
async function renderAt(
  { store, trees, renderer }: RenderedApplicationsOptions,
  {
    application,
    spec,
    variant,
    revision,
  }: { application: string; spec: ApplicationSpec; variant: Variant; revision: string },
  signal: AbortSignal,
): Promise<Given> {
  const repository = spec.source?.repository ?? ''
  const commit = await findCommit(store, repository, revision)
  const others = await findOthers(store, spec)
  const { rendered } = await readAndRender(
    { trees, renderer },
    await withCapabilities(store, targetAt(application, spec, { commit, others, variant })),
    signal,
  )
  return {
    revision: create(RevisionSchema, { repository, ref: revision, commit }),
    artifact: fromBinary(ArtifactSchema, rendered.content),
    problems: rendered.problems,
  }
}

/** The commits of value files elsewhere, as they are now. */
async function findOthers({ db }: Store, spec: ApplicationSpec): Promise<OtherCommit[]> {
  const wanted = otherSourcesOf(spec)
  if (wanted.length === 0) return []
  const rows = await db.selectFrom('refs').select(['repository', 'ref', 'commit']).where('commit', '!=', '').execute()
  return rows.filter((row) => wanted.some(({ repository, ref }) => row.repository === repository && row.ref === ref))
}

async function findCommit({ db }: Store, repository: string, revision: string): Promise<string> {
  const table = db.selectFrom('refs').select('commit').where('repository', '=', repository)
  const row = await table.where('ref', '=', revision).executeTakeFirst()
  if (row && row.commit !== '') return row.commit
  if (/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(revision)) return revision
  const message = `${JSON.stringify(revision.slice(0, 80))} is neither a full commit id nor a ref of Repository/${repository} that is followed`
  throw new AppError('InvalidArgument', message)
}

/** What the cluster is to run: by its deployment, which is what its slice is made of. */
async function findGiven(
  { db }: Store,
  { application, cluster, variant }: { application: string; cluster: Cluster; variant: Variant },
): Promise<Given> {
  const deployment = await db
    .selectFrom('deployments')
    .innerJoin('artifacts', 'artifacts.digest', 'deployments.artifact_digest')
    .select(['deployments.revision', 'artifacts.digest', 'artifacts.reference'])
    .where('application', '=', application)
    .where('cluster_id', '=', cluster.id)
    .where('state', '=', 'desired')
    .executeTakeFirst()
  if (!deployment?.revision) {
    throw new AppError(
      'NotFound',
      `${cluster.name} is given nothing of ${application}: it is not selected, or nothing was rendered yet`,
    )
  }
  const reference = fromBinary(ArtifactReferenceSchema, deployment.reference)
  const rows = await db
    .selectFrom('artifact_chunks')
    .select(['digest', 'bytes'])
    .where('artifact_digest', '=', deployment.digest)
    .execute()
  const chunks = new Map(rows.map(({ digest, bytes }) => [digest, bytes]))
  const inOrder = reference.chunks.flatMap((digest) => chunks.get(digest) ?? [])
  return {
    revision: fromJsonString(RevisionSchema, deployment.revision),
    artifact: openArtifact(reference, inOrder),
    problems: await findProblems({ db }, application, variant.id),
  }
}

async function findProblems({ db }: Pick<Store, 'db'>, application: string, variant: string): Promise<Problem[]> {
  const rows = db.selectFrom('renders').select('problems').where('application', '=', application)
  const row = await rows.where('variant', '=', variant).executeTakeFirst()
  return row ? readProblems(row.problems) : []
}

/** The values of a chart with their origins; none for what is no chart, or where the files cannot be read any more. */
async function findValues(
  trees: InputsSource,
  { target, indexes }: { readonly target: RenderTarget; readonly indexes: readonly number[] },
  signal: AbortSignal,
) {
  const reader = new InputsReader(trees, target)
  try {
    await reader.readOwn(signal)
    await reader.readMore(findValueFilesElsewhere(target), signal)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof AppError) return []
    throw error
  }
  const files = new Map(reader.inputs.files.map(({ path, bytes }) => [path, Buffer.from(bytes).toString('utf8')]))
  const choice = chooseTool(files.keys(), target.path, target.render)
  if (!('tool' in choice) || choice.tool !== 'helm') return []
  const layers = [
    { file: target.path === '' ? 'values.yaml' : `${target.path}/values.yaml` },
    ...findValueLayers(target, (index) => `overrides[${indexes[index]}]`),
  ]
  const written = layers.flatMap((layer): ValueLayer[] => {
    if ('values' in layer) return [{ origin: layer.field, values: layer.values }]
    const file = 'file' in layer ? layer.file : ''
    const values = parseValues(files.get(file))
    return values ? [{ origin: file, values }] : []
  })
  return traceValues(written).map((each) =>
    create(ValueOriginSchema, { path: formatValuePath(each), json: JSON.stringify(each.value), origin: each.origin }),
  )
}

function parseValues(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined
  const values = load(text)
  return typeof values === 'object' && values !== null ? (values as Record<string, unknown>) : undefined
}
