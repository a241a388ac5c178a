// The hub knows where a document begins; this file knows where its fields are, and says so in the hub's problems.

import type { DefinitionSource } from '@fairlead/server/definitions/documents'
import { type ErrorDetail, ProblemsError } from '@fairlead/shared/grpc-status'

/** The same failure with the line of the field that each problem names, instead of the line where its document begins. */
export function locateProblems(error: unknown, documents: readonly DefinitionSource[]): unknown {
  if (!(error instanceof ProblemsError)) return error
  return new ProblemsError(
    error.code,
    error.problems.map((problem) => locate(problem, documents)),
  )
}

function locate(problem: ErrorDetail, documents: readonly DefinitionSource[]): ErrorDetail {
  const document = documents.find(({ file, line }) => file === problem.file && line === problem.line)
  return document && problem.field ? { ...problem, line: document.lineOf(problem.field) } : problem
}
