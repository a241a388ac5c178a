// Renders applications in worker threads with limits on time and memory. Artifacts stay in their binary form here: to
// decode, compress or encrypt one of many megabytes would hold up the hub.
import { fromBinary } from '@bufbuild/protobuf'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import { toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import { createWorkerPool, workerUrl } from '../worker-pool.ts'
import { createEngineSource } from './engine-module.ts'
import { type NeedsMore, needsEngine, type RenderInputs, type RenderOptions } from './render.ts'
import type { ContentAnswer, RenderAnswer, RenderRequest, SealedAnswer } from './render-worker.ts'

/** Settings of a renderer. */
export interface RendererOptions {
  readonly logger: Logger
  /** Worker threads, default 2; and as many again for charts and Kustomize folders, so that these hold up nothing else. */
  readonly workers?: number
  /** Longest time of one render of plain manifests, and of what else the workers do, in milliseconds, default 20,000. */
  readonly timeoutMs?: number
  /** Longest time of one render by Helm or Kustomize in milliseconds, default 60,000. */
  readonly engineTimeoutMs?: number
  /** Most megabytes of JavaScript objects in one worker, default 1,024; the limits on files keep a render well below. */
  readonly heapMegabytes?: number
}

/** An artifact's content. */
export interface ArtifactContent {
  /** The Artifact message in its binary form. */
  readonly content: Uint8Array
  /** Its digest, as artifactDigest computes it. */
  readonly digest: string
}

/** What renderApplication answers, with the artifact in its binary form. */
export interface RenderedApplication extends ArtifactContent {
  /** Number of objects in the artifact. */
  readonly objects: number
  readonly problems: readonly Problem[]
  readonly incomplete: boolean
}

/** An artifact as it is stored: the ArtifactReference message in its binary form, and the chunks that it names. */
export type StoredArtifact = SealedAnswer

/** Renders applications. */
export interface Renderer {
  /** Renders one application, or says what is to be read before. Rejects with RenderTimeout when it takes too long, with LimitExceeded when it takes too much memory of JavaScript, with Aborted when the signal aborts. What the files hold never makes it reject otherwise. */
  render(inputs: RenderInputs, options: RenderOptions, signal?: AbortSignal): Promise<RenderedApplication | NeedsMore>
  /** Joins an incomplete render with the last good artifact, see carryOver. Rejects with ArtifactCorrupt when that cannot be opened, else as render does. */
  carryOver(
    last: StoredArtifact,
    incomplete: ArtifactContent,
    namespace: string,
    signal?: AbortSignal,
  ): Promise<ArtifactContent>
  /** Compresses and encrypts an artifact, see sealArtifact. Rejects with LimitExceeded when it is too large, else as render does. */
  seal(artifact: ArtifactContent, signal?: AbortSignal): Promise<StoredArtifact>
  /** Ends the workers; running renders reject with Aborted. */
  stop(): Promise<void>
}

/** Makes a renderer. Its workers start when they are needed. */
export function createRenderer({
  logger,
  workers = 2,
  timeoutMs = 20_000,
  engineTimeoutMs = 60_000,
  heapMegabytes = 1_024,
}: RendererOptions): Renderer {
  const engine = createEngineSource()
  const settings = { url: workerUrl('render-worker', import.meta.url), size: workers, heapMegabytes }
  const pool = createWorkerPool(settings)
  const enginePool = createWorkerPool(settings)
  // The worker is ours and answers the type that belongs to the request.
  const run = async (request: RenderRequest, signal: AbortSignal | undefined): Promise<unknown> => {
    const isEngines = request.verb === 'render' && request.engine !== undefined
    try {
      return await (isEngines
        ? enginePool.run(request, { signal, timeoutMs: engineTimeoutMs, timeoutCode: 'RenderTimeout' })
        : pool.run(request, { signal, timeoutMs, timeoutCode: 'RenderTimeout' }))
    } catch (error) {
      throw toAppError(error)
    }
  }
  return {
    render: async (inputs, options, signal) => {
      const startedAt = performance.now()
      const module = needsEngine(inputs, options) ? await engine.get() : undefined
      const answer = await run({ verb: 'render', inputs, options, engine: module }, signal)
      const durationMs = performance.now() - startedAt
      logger.debug({ application: options.application, durationMs }, 'application rendered')
      if (isNeedsMore(answer)) return answer
      return withProblems(answer as RenderAnswer)
    },
    carryOver: async (last, { content }, namespace, signal) =>
      (await run({ verb: 'carry-over', last, content, namespace }, signal)) as ContentAnswer,
    seal: async ({ content }, signal) => (await run({ verb: 'seal', content }, signal)) as SealedAnswer,
    stop: async () => {
      await Promise.all([pool.stop(), enginePool.stop()])
    },
  }
}

function isNeedsMore(answer: unknown): answer is NeedsMore {
  return typeof answer === 'object' && answer !== null && 'needs' in answer
}

function withProblems({ problems, ...answer }: RenderAnswer): RenderedApplication {
  return { ...answer, problems: problems.map((problem) => fromBinary(ProblemSchema, problem)) }
}
