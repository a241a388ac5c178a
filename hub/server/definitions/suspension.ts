// Suspending an application and letting it go on: stored in its spec, as if it had been applied so.
import { toJsonString } from '@bufbuild/protobuf'
import { ApplicationSpecSchema } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import type { Transaction } from 'kysely'
import { writeAudit } from '../store/audit.ts'
import { readApplicationSpec } from '../store/definition-rows.ts'
import type { Schema } from '../store/schema.ts'
import { findOwnerProblem } from './ownership.ts'

/** What to do, and who asked for it. */
export interface Suspension {
  readonly name: string
  readonly suspend: boolean
  readonly actor: string
  readonly nowMs: number
}

/** Stores it, with an audit row; false when it is so already. Throws NotFound, or FailedPrecondition for one that is being deleted. */
export async function suspendApplication(
  transaction: Transaction<Schema>,
  { name, suspend, actor, nowMs }: Suspension,
): Promise<boolean> {
  const row = await transaction
    .selectFrom('applications')
    .select(['spec', 'generation', 'deleting', 'owner', 'origin'])
    .where('name', '=', name)
    .executeTakeFirst()
  if (!row) throw new AppError('NotFound', `there is no Application ${JSON.stringify(name.slice(0, 80))}`)
  if (row.deleting !== null) throw new AppError('FailedPrecondition', `Application/${name} is being deleted`)
  const spec = readApplicationSpec(row.spec)
  if (spec.suspend === suspend) return false
  const problem = findOwnerProblem(row, '')
  if (problem !== undefined) throw new AppError('FailedPrecondition', `Application/${name} ${problem}`)
  const generation = row.generation + 1
  await transaction
    .updateTable('applications')
    .set({ spec: toJsonString(ApplicationSpecSchema, { ...spec, suspend }), generation })
    .where('name', '=', name)
    .execute()
  const action = suspend ? 'application.suspend' : 'application.resume'
  await writeAudit(transaction, { actor, action, object: `Application/${name}`, detail: { generation } }, nowMs)
  return true
}
