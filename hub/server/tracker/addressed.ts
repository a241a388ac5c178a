// Which declared Repository stands for an address that somebody wrote into a repository: nothing else is ever asked. Pure.
import type { RepositorySpec } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { holdsPackages, isOciAddress } from '../package-reference.ts'
import { addressKey } from '../repository-address.ts'

/** A Repository as it is declared. */
export interface DeclaredRepository {
  readonly name: string
  readonly spec: RepositorySpec
}

const SHOWN_LENGTH = 200

/** The name of the repository of charts with that address. Throws NotFound. */
export function findChartRepository(declared: readonly DeclaredRepository[], address: string): string {
  const key = addressKey(address)
  const found = declared.filter(
    ({ spec }) =>
      spec.helm &&
      key !== undefined &&
      isOciAddress(spec.url) === isOciAddress(address) &&
      addressKey(spec.url) === key,
  )
  const name = firstName(found)
  if (name !== undefined) return name
  const shown = address.slice(0, SHOWN_LENGTH)
  throw new AppError('NotFound', `no Repository with helm: {} has the address ${shown}; define one`)
}

/** The name of the repository with that address that gives bases to the repository `user`. Throws NotFound when there is none, FailedPrecondition when it gives none. */
export function findBaseRepository(
  declared: readonly DeclaredRepository[],
  { address, user }: { readonly address: string; readonly user: string },
): string {
  const key = addressKey(address)
  const found = declared.filter(({ spec }) => !holdsPackages(spec) && key !== undefined && addressKey(spec.url) === key)
  const isGiven = ({ name, spec: { bases } }: DeclaredRepository): boolean =>
    name === user || (bases !== undefined && (bases.repositories.length === 0 || bases.repositories.includes(user)))
  const name = firstName(found.filter(isGiven))
  if (name !== undefined) return name
  const other = firstName(found)
  if (other === undefined) {
    const hint = 'define one, and write "//" between the repository and the folder'
    throw new AppError('NotFound', `no Repository has the address ${address.slice(0, SHOWN_LENGTH)}; ${hint}`)
  }
  const message = `Repository/${other} gives Repository/${user} no bases; spec.bases allows it`
  throw new AppError('FailedPrecondition', message)
}

/** Of several any will do; the first has the same credentials at each time. */
function firstName(found: readonly DeclaredRepository[]): string | undefined {
  return found.map(({ name }) => name).sort()[0]
}
