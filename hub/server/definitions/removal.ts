// Removes definitions that are gone from where they came from.
import { AppError } from '@fairlead/shared/errors'
import type { Transaction } from 'kysely'
import { removeClusterDocument } from '../cluster-documents.ts'
import type { Owner, Schema } from '../store/schema.ts'
import type { DefinitionPlan, PlanProblem } from './definition-plan.ts'
import { deleteApplication, deleteRepository } from './deletion.ts'

/** Whose they were. */
export interface RemovalContext {
  readonly owner: Owner
  readonly nowMs: number
  /** What they are gone from, at the end of a sentence. */
  readonly place: string
}

/** What became of them. */
export interface Removed {
  /** Kind/name of each that is deleted. */
  readonly changed: readonly string[]
  readonly problems: readonly PlanProblem[]
}

/** Deletes in whatever order others allow: what depends on something goes before it. What others keep from going is told. */
export async function removeDefinitions(
  transaction: Transaction<Schema>,
  rows: DefinitionPlan['remove'],
  { owner, nowMs, place }: RemovalContext,
): Promise<Removed> {
  const changed: string[] = []
  for (let left = [...rows]; ; ) {
    const problems: PlanProblem[] = []
    const refused: typeof left = []
    for (const row of left) {
      const deletion = { name: row.name, actor: owner, owner, nowMs }
      try {
        if (row.kind === 'Application') await deleteApplication(transaction, { ...deletion, orphan: false })
        else if (row.kind === 'Repository') await deleteRepository(transaction, deletion)
        else await removeClusterDocument(transaction, row.name)
        changed.push(`${row.kind}/${row.name}`)
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'FailedPrecondition') throw error
        refused.push(row)
        const message = `is gone from ${place}, but stays: ${error.message}`
        problems.push({ code: 'FailedPrecondition', object: `${row.kind}/${row.name}`, message })
      }
    }
    if (refused.length === 0 || refused.length === left.length) return { changed, problems }
    left = refused
  }
}
