// Reads the definitions that a commit holds. Never throws for what somebody wrote: what cannot be read is told, by file.
import { create } from '@bufbuild/protobuf'
import { DefinitionDocumentSchema } from '@fairlead/proto/definitions'
import { AppError, toAppError } from '@fairlead/shared/errors'
import type { ErrorDetail } from '@fairlead/shared/grpc-status'
import type { CommitContent } from './definition-plan.ts'
import { type ReadDocument, readDocument } from './document.ts'
import { type DefinitionSource, parseDocuments } from './documents.ts'

/** Largest file of definitions. */
const MAX_FILE_BYTES = 1024 * 1024
/** Most documents of a commit. */
const MAX_DOCUMENTS = 5_000
const EXTENSION = /\.(yaml|yml|json)$/

/** Files of a folder at a commit, and what of it could not be handed over. */
export interface CommitFiles {
  readonly files: readonly { readonly path: string; readonly bytes: Uint8Array }[]
  readonly skipped: readonly { readonly path: string; readonly kind: string; readonly message: string }[]
}

/** What was read: the documents as the rules see them, and as they are written. */
export interface ReadCommit extends CommitContent {
  readonly sources: readonly DefinitionSource[]
}

/** The documents of every .yaml, .yml and .json file, however deep. */
export function readCommitContent({ files, skipped }: CommitFiles): ReadCommit {
  const sources: DefinitionSource[] = []
  // A link or a submodule may be a folder of definitions.
  const problems: ErrorDetail[] = skipped
    .filter(({ path, kind }) => kind !== 'file' || EXTENSION.test(path))
    .map(({ path, message }) => ({ file: path, message }))
  for (const { path, bytes } of files) {
    if (!EXTENSION.test(path)) continue
    try {
      const found = parseDocuments(decode(bytes), path)
      if (sources.length + found.length > MAX_DOCUMENTS) {
        throw new AppError('LimitExceeded', `is left out: at most ${MAX_DOCUMENTS} documents are read`)
      }
      sources.push(...found)
    } catch (thrown) {
      const { message, context } = toAppError(thrown)
      problems.push({ file: path, ...context, message })
    }
  }
  return { sources, documents: sources.map(read), problems }
}

/** The problem at the line of the field that it names, instead of where its document begins. */
export function locateProblem<P extends ErrorDetail>(problem: P, sources: readonly DefinitionSource[]): P {
  const source = sources.find(({ file, line }) => file === problem.file && line === problem.line)
  return source && problem.field ? { ...problem, line: source.lineOf(problem.field) } : problem
}

function decode(bytes: Uint8Array): string {
  if (bytes.length > MAX_FILE_BYTES) {
    throw new AppError('LimitExceeded', `has ${bytes.length} bytes; the limit is ${MAX_FILE_BYTES}`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new AppError('InvalidArgument', 'is not UTF-8 text', { cause })
  }
}

function read({ value, file, line }: DefinitionSource): ReadDocument {
  return readDocument(create(DefinitionDocumentSchema, { json: JSON.stringify(value), source: { file, line } }))
}
