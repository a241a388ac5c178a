// The worker thread in which renders run: a bad one can neither hold up the hub nor another render.
import { toBinary } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { ArtifactSchema } from '@fairlead/proto/slice'
import { sha256Hex } from '@fairlead/shared/digest'
import type { SourceTree } from '../tracker/source-tree.ts'
import { answerRequests } from '../worker-answer.ts'
import { type RenderOptions, renderApplication } from './render.ts'

/** What the worker is asked. */
export interface RenderRequest {
  readonly tree: SourceTree
  readonly options: RenderOptions
}

/** What the worker answers: messages in their binary form, which crosses threads cheaply. */
export interface RenderAnswer {
  readonly artifact: Uint8Array
  readonly digest: string
  readonly problems: readonly Uint8Array[]
  readonly incomplete: boolean
}

function isRenderRequest(request: unknown): request is RenderRequest {
  return request !== null && typeof request === 'object' && 'tree' in request && 'options' in request
}

answerRequests((request): RenderAnswer => {
  if (!isRenderRequest(request)) throw new TypeError('not a render request')
  const { artifact, problems, incomplete } = renderApplication(request.tree, request.options)
  const bytes = toBinary(ArtifactSchema, artifact)
  return {
    artifact: bytes,
    digest: sha256Hex(bytes),
    problems: problems.map((problem) => toBinary(ProblemSchema, problem)),
    incomplete,
  }
})
