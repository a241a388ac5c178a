// The hub knows where a document begins; this file knows where its fields are, and says so in the hub's problems.
import { AppError } from '@fairlead/shared/errors'
import type { DefinitionSource } from './documents.ts'

const FIELD = /\b(?:apiVersion|kind|metadata|spec|status)(?:\.[A-Za-z0-9_-]+|\[\d+\])*/

/**
 * The same failure with the line of the field that each of its problems names, instead of the line where the document begins.
 * Anything else than an InvalidArgument comes back as it is.
 */
export function locateProblems(error: unknown, documents: readonly DefinitionSource[]): unknown {
  if (!(error instanceof AppError) || error.code !== 'InvalidArgument') return error
  const message = error.message
    .split('\n')
    .map((line) => locate(line, documents))
    .join('\n')
  return new AppError('InvalidArgument', message, { context: error.context, cause: error.cause })
}

function locate(line: string, documents: readonly DefinitionSource[]): string {
  for (const document of documents) {
    const place = `${document.file}:${document.line}: `
    if (!line.startsWith(place)) continue
    const rest = line.slice(place.length)
    const field = rest.match(FIELD)?.[0]
    return field === undefined ? line : `${document.file}:${document.lineOf(field)}: ${rest}`
  }
  return line
}
