// Renders applications in worker threads with limits on time and memory.
import { fromBinary } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { ArtifactSchema } from '@fairlead/proto/slice'
import { toAppError } from '@fairlead/shared/errors'
import type { Logger } from '@fairlead/shared/logger'
import type { SourceTree } from '../tracker/source-tree.ts'
import { createWorkerPool, workerUrl } from '../worker-pool.ts'
import type { RenderOptions, RenderOutcome } from './render.ts'
import type { RenderAnswer, RenderRequest } from './render-worker.ts'

/** Settings of a renderer. */
export interface RendererOptions {
  readonly logger: Logger
  /** Worker threads, default 2. */
  readonly workers?: number
  /** Longest time of one render in milliseconds, default 20,000. */
  readonly timeoutMs?: number
  /** Most megabytes of JavaScript objects in one worker, default 1,024; the limits on files keep a render well below. */
  readonly heapMegabytes?: number
}

/** A render with the digest of its artifact, as artifactDigest computes it. */
export interface RenderedApplication extends RenderOutcome {
  readonly digest: string
}

/** Renders applications. */
export interface Renderer {
  /** Renders one application. Rejects with LimitExceeded when it takes too long or too much memory, with Aborted when the signal aborts. What the files hold never makes it reject. */
  render(tree: SourceTree, options: RenderOptions, signal?: AbortSignal): Promise<RenderedApplication>
  /** Ends the workers; running renders reject with Aborted. */
  stop(): Promise<void>
}

/** Makes a renderer. Its workers start when they are needed. */
export function createRenderer({
  logger,
  workers = 2,
  timeoutMs = 20_000,
  heapMegabytes = 1_024,
}: RendererOptions): Renderer {
  const pool = createWorkerPool({ url: workerUrl('render-worker', import.meta.url), size: workers, heapMegabytes })
  return {
    render: async (tree, options, signal) => {
      const request: RenderRequest = { tree, options }
      const startedAt = performance.now()
      try {
        // The worker is ours and answers this type.
        const answer = (await pool.run(request, { signal, timeoutMs })) as RenderAnswer
        logger.debug(
          { application: options.application, commit: tree.commit, durationMs: performance.now() - startedAt },
          'application rendered',
        )
        return {
          artifact: fromBinary(ArtifactSchema, answer.artifact),
          digest: answer.digest,
          problems: answer.problems.map((problem) => fromBinary(ProblemSchema, problem)),
          incomplete: answer.incomplete,
        }
      } catch (error) {
        throw toAppError(error)
      }
    },
    stop: () => pool.stop(),
  }
}
