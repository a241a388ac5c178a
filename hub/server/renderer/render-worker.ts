// The worker thread in which renders run: a bad one can neither hold up the hub nor another render. Artifacts, which may
// be of many megabytes, are also joined, compressed and encrypted here.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { ProblemSchema } from '@fairlead/proto/common'
import { type Artifact, ArtifactReferenceSchema, ArtifactSchema } from '@fairlead/proto/slice'
import { openArtifact, type SealedArtifact, sealArtifact } from '@fairlead/shared/artifact'
import { sha256Hex } from '@fairlead/shared/digest'
import { AppError } from '@fairlead/shared/errors'
import { answerRequests } from '../worker-answer.ts'
import { carryOver } from './carry-over.ts'
import { Engine } from './engine-instance.ts'
import { type NeedsMore, type RenderInputs, type RenderOptions, type RunEngine, renderApplication } from './render.ts'

/** What the worker is asked. Messages are in their binary form, which crosses threads cheaply. */
export type RenderRequest =
  | {
      readonly verb: 'render'
      readonly inputs: RenderInputs
      readonly options: RenderOptions
      /** Present when the engine is needed. */
      readonly engine?: WebAssembly.Module | undefined
    }
  | {
      readonly verb: 'carry-over'
      readonly last: SealedAnswer
      readonly content: Uint8Array
      readonly namespace: string
    }
  | { readonly verb: 'seal'; readonly content: Uint8Array }

/** An artifact's content. */
export interface ContentAnswer {
  readonly content: Uint8Array
  readonly digest: string
}

/** Answer to render, unless more is to be read; carry-over answers with a ContentAnswer alone. */
export interface RenderAnswer extends ContentAnswer {
  readonly objects: number
  readonly problems: readonly Uint8Array[]
  readonly incomplete: boolean
}

/** Answer to seal. */
export interface SealedAnswer {
  readonly reference: Uint8Array
  readonly chunks: SealedArtifact['chunks']
}

type Answer = RenderAnswer | NeedsMore | ContentAnswer | SealedAnswer

function handle(request: RenderRequest): Answer {
  switch (request.verb) {
    case 'render':
      return render(request)
    case 'carry-over': {
      const incomplete = fromBinary(ArtifactSchema, request.content)
      return contentOf(carryOver(open(request.last), incomplete, request.namespace))
    }
    case 'seal': {
      const { reference, chunks } = sealArtifact(fromBinary(ArtifactSchema, request.content))
      return { reference: toBinary(ArtifactReferenceSchema, reference), chunks }
    }
  }
}

/** What this thread keeps from one render to the next; there is one module in a hub. */
let kept: Engine | undefined

function findEngine(module: WebAssembly.Module | undefined): RunEngine {
  if (!module) {
    return () => {
      throw new AppError('Internal', 'the rendering engine was not handed over')
    }
  }
  kept ??= new Engine(module)
  const engine = kept
  return (request) => engine.render(request)
}

function render({ inputs, options, engine }: RenderRequest & { readonly verb: 'render' }): RenderAnswer | NeedsMore {
  const outcome = renderApplication(inputs, options, findEngine(engine))
  if ('needs' in outcome) return outcome
  const { artifact, problems, incomplete } = outcome
  return {
    ...contentOf(artifact),
    objects: artifact.manifests.length,
    problems: problems.map((problem) => toBinary(ProblemSchema, problem)),
    incomplete,
  }
}

function open({ reference, chunks }: SealedAnswer): Artifact {
  const opened = fromBinary(ArtifactReferenceSchema, reference)
  return openArtifact(
    opened,
    opened.chunks.map((name) => chunks.get(name) ?? new Uint8Array()),
  )
}

function contentOf(artifact: Artifact): ContentAnswer {
  const content = toBinary(ArtifactSchema, artifact)
  return { content, digest: sha256Hex(content) }
}

// Requests come from the renderer only, which sends this type.
answerRequests((request) => handle(request as RenderRequest))
