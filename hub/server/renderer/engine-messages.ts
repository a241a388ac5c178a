// What the rendering engine (hub/engine, request.go) is asked and answers: a header in JSON behind its length, and then
// the bytes of the files that the header lists.
import type { ErrorCode } from '@fairlead/shared/errors'
import type { SkippedEntry, SourceFile } from '../tracker/source-tree.ts'
import type { KustomizeChanges } from './render-tool.ts'

/** One render by Helm or Kustomize. */
export interface EngineRequest {
  /** The folder to render, from the repository's root; empty for the root. */
  readonly path: string
  /** Files and folders that were read; what is not there below one of them is not in Git. */
  readonly read: readonly string[]
  readonly files: readonly SourceFile[]
  readonly skipped: readonly SkippedEntry[]
  /** Present when Kustomize is to render; with what charts in kustomizations are told of Kubernetes. */
  readonly kustomize?: KustomizeChanges & { readonly kubeVersion: string; readonly apiVersions: readonly string[] }
  /** Present when Helm is to render. */
  readonly helm?: EngineHelmOptions
}

/** What Helm is told. */
export interface EngineHelmOptions {
  readonly releaseName: string
  readonly namespace: string
  /** Values from several places; later ones win, and all over the chart's own. */
  readonly values: readonly EngineHelmValues[]
  readonly kubeVersion: string
  /** `group/version` and `group/version/Kind`. */
  readonly apiVersions: readonly string[]
  readonly includeCrds: boolean
  readonly emptyLookup: boolean
}

/** Values from one place: a file by its path in the repository, or those of a field of the definition. */
export type EngineHelmValues =
  | { readonly file: string }
  | { readonly field: string; readonly values: Readonly<Record<string, unknown>> }

/** Exactly one of needs, problems and outputs is not empty, unless there is nothing to render. */
export interface EngineAnswer {
  /** Files or folders of the repository to read before the same is asked again. */
  readonly needs: readonly string[]
  readonly problems: readonly EngineProblem[]
  readonly outputs: readonly EngineOutput[]
  /** True when the instance must not be used again. */
  readonly broken: boolean
}

/** Why nothing can be rendered. */
export interface EngineProblem {
  readonly code: ErrorCode
  readonly message: string
  readonly file?: string
  readonly line?: number
}

/** A text of YAML or JSON documents. */
export interface EngineOutput {
  /** Where in Git it comes from. */
  readonly file: string
  readonly bytes: Uint8Array
}

interface AnswerHeader extends Partial<Omit<EngineAnswer, 'outputs'>> {
  readonly outputs?: readonly { readonly file: string; readonly size: number }[]
}

/** Bytes of a request: `byteLength` first, so that they can be written straight into the engine's memory. */
export interface EncodedRequest {
  readonly byteLength: number
  write(target: Uint8Array): void
}

/** Encodes a request. */
export function encodeRequest({ files, skipped, ...rest }: EngineRequest): EncodedRequest {
  const header = Buffer.from(
    JSON.stringify({
      ...rest,
      files: files.map(({ path, bytes }) => ({ path, size: bytes.length })),
      skipped: skipped.map(({ path, code, message }) => ({ path, code, message })),
    }),
  )
  const byteLength = files.reduce((sum, { bytes }) => sum + bytes.length, 4 + header.length)
  return {
    byteLength,
    write: (target) => {
      new DataView(target.buffer, target.byteOffset).setUint32(0, header.length, true)
      target.set(header, 4)
      let position = 4 + header.length
      for (const { bytes } of files) {
        target.set(bytes, position)
        position += bytes.length
      }
    },
  }
}

/** Decodes an answer; nothing in it refers to `encoded`. */
export function decodeAnswer(encoded: Uint8Array): EngineAnswer {
  const bytes = Buffer.from(encoded)
  const headerEnd = 4 + bytes.readUInt32LE(0)
  // The engine is ours and answers this.
  const header = JSON.parse(bytes.toString('utf8', 4, headerEnd)) as AnswerHeader
  let position = headerEnd
  const outputs = (header.outputs ?? []).map(({ file, size }) => {
    const start = position
    position += size
    return { file, bytes: bytes.subarray(start, position) }
  })
  return { needs: header.needs ?? [], problems: header.problems ?? [], outputs, broken: header.broken ?? false }
}
