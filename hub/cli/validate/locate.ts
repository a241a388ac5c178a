// Findings with the file as a person would open it, and the line of the field instead of the line where its document begins.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { type DefinitionSource, parseDocuments } from '@fairlead/server/definitions/documents'
import type { Finding } from '@fairlead/server/validate'

/** A finding in its place. */
export type Located = Omit<Finding, 'root'>

/** In the order of files and lines. Paths are from `folder`, the current one. */
export async function locateFindings(findings: readonly Finding[], folder: string): Promise<Located[]> {
  const read = new Map<string, Promise<readonly DefinitionSource[]>>()
  const located = await Promise.all(
    findings.map(async ({ root, ...finding }): Promise<Located> => {
      if (finding.file === undefined) return finding
      const whole = path.resolve(root ?? folder, finding.file)
      const file = path.relative(folder, whole) || '.'
      if (finding.field === undefined || finding.line === undefined) return { ...finding, file }
      const documents = read.get(whole) ?? readDocuments(whole)
      read.set(whole, documents)
      const document = (await documents).find(({ line }) => line === finding.line)
      return { ...finding, file, line: document?.lineOf(finding.field) ?? finding.line }
    }),
  )
  return located.sort((a, b) => compare(a.file, b.file) || (a.line ?? 0) - (b.line ?? 0))
}

/** None where they cannot be read once more: then the line of the document is the best that is known. */
async function readDocuments(file: string): Promise<readonly DefinitionSource[]> {
  return await readFile(file, 'utf8')
    .then((text) => parseDocuments(text, file))
    .catch(() => [])
}

function compare(a = '', b = ''): number {
  return a < b ? -1 : a > b ? 1 : 0
}
