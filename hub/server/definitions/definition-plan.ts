// What a commit of definitions changes: which of them are stored, which go, which are held, and what is wrong. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import type { ErrorCode } from '@fairlead/shared/errors'
import type { ErrorDetail } from '@fairlead/shared/grpc-status'
import type { Owner } from '../store/schema.ts'
import { checkDefinitions } from './check-definitions.ts'
import type { Definition, DefinitionKind, ReadDocument } from './document.ts'
import { findOwnerProblem } from './ownership.ts'
import { compareDefinition } from './stored-definition.ts'

/** Applications with this label are never deleted because they left Git. */
export const PROTECTED_LABEL = 'fairlead.dev/protected'
/** From so many on, applications that leave Git in one commit are held; also when they are more than half of all. */
export const MAX_REMOVALS = 10

/** How often the rest of a commit is looked at again without what is wrong; more than three times was never needed. */
const MAX_ROUNDS = 10

/** What a commit holds. */
export interface CommitContent {
  readonly documents: readonly ReadDocument[]
  /** Of files that cannot be read. */
  readonly problems: readonly ErrorDetail[]
}

/** A definition in the database. */
export interface StoredDefinition {
  readonly kind: DefinitionKind
  readonly name: string
  /** Record of label to value, as JSON. */
  readonly labels: string
  /** As proto JSON. */
  readonly spec: string
  readonly owner: Owner
  readonly origin: string
  readonly deleting: string | null
}

/** Everything in the database. */
export interface StoredDefinitions {
  readonly rows: readonly StoredDefinition[]
  /** Of the applications that are not being deleted, by name. */
  readonly specs: ReadonlyMap<string, ApplicationSpec>
}

/** What the documents come from. */
export interface SourceSettings {
  /** git:<repository> or application:<name>. */
  readonly owner: Owner
  /** What to call it, at the end of a sentence. */
  readonly place: string
  /** Take over what was made by hand and differs. */
  readonly adopt: boolean
}

/** Something wrong, with its code. */
export interface PlanProblem extends ErrorDetail {
  readonly code: ErrorCode
}

/** What to do. */
export interface DefinitionPlan {
  /** Repositories first. */
  readonly store: readonly Definition[]
  /** Applications first. */
  readonly remove: readonly StoredDefinition[]
  /** Gone from there, but to be deleted by hand only. */
  readonly hold: readonly StoredDefinition[]
  readonly problems: readonly PlanProblem[]
}

/** Plans it. What is wrong with one definition stops only that one, and what is stored of it stays; nothing is removed unless everything could be read. */
export function planDefinitions(
  { documents, problems }: CommitContent,
  stored: StoredDefinitions,
  source: SourceSettings,
): DefinitionPlan {
  const rows = new Map(stored.rows.map((row) => [keyOf(row), row]))
  const repositories = stored.rows.filter(({ kind }) => kind === 'Repository').map(({ name }) => name)
  const defined = { repositories: new Set(repositories), applications: stored.specs }
  const refusals = documents.flatMap(({ definition }) => (definition ? refuse(definition, rows, source) : []))
  const found: PlanProblem[] = [...problems.map(invalid), ...refusals]
  let left = without(documents, refusals)
  // Leaving one out may leave another without what it names.
  for (let round = 1; ; round++) {
    const { definitions, problems: wrong } = checkDefinitions(left, defined)
    if (wrong.length === 0) {
      const removal = planRemoval({ documents, isWhole: problems.length === 0 }, stored.rows, source)
      const store = [...definitions].sort((a, b) => rank(b.kind) - rank(a.kind))
      return { store, ...removal, problems: [...found, ...removal.problems] }
    }
    found.push(...wrong.map(invalid))
    left = without(left, wrong)
    const waiting = findWaiting(left, stored.specs)
    found.push(...waiting)
    left = without(left, waiting)
    if (round < MAX_ROUNDS) continue
    const message = 'is left out: too much of this commit is wrong to say what is not'
    found.push(
      ...left.map(({ definition, object }): PlanProblem => invalid({ ...definition?.source, object, message })),
    )
    left = []
  }
}

const keyOf = ({ kind, name }: { readonly kind: string; readonly name: string }): string => `${kind}/${name}`
const rank = (kind: DefinitionKind): number => (kind === 'Repository' ? 1 : 0)
const placeOf = ({ file = '', line = 0 }: Pick<ErrorDetail, 'file' | 'line'>): string => `${line} ${file}`
const invalid = (problem: ErrorDetail): PlanProblem => ({ ...problem, code: 'InvalidArgument' })

function without(documents: readonly ReadDocument[], problems: readonly ErrorDetail[]): readonly ReadDocument[] {
  const places = new Set(problems.map(placeOf))
  return documents.filter(({ definition, problems: [own] }) => !places.has(placeOf(definition?.source ?? own ?? {})))
}

/** Those that wait, over however many others, for an application that is neither there nor among them. */
function findWaiting(
  left: readonly ReadDocument[],
  applications: ReadonlyMap<string, ApplicationSpec>,
): readonly PlanProblem[] {
  const definitions = left.flatMap(({ definition }) => (definition?.kind === 'Application' ? [definition] : []))
  const there = new Set([...applications.keys(), ...definitions.map(({ name }) => name)])
  const pairs = definitions.flatMap((definition) => definition.spec.dependsOn.map((name) => ({ name, definition })))
  const dependents = Map.groupBy(pairs, ({ name }) => name)
  const missing = [...dependents.keys()].filter((name) => !there.has(name))
  const found = new Map<string, PlanProblem>()
  // Grows while it is walked.
  for (const name of missing) {
    for (const { definition } of dependents.get(name) ?? []) {
      if (found.has(definition.name)) continue
      const message = `there is no Application ${name} that could be taken over`
      const object = keyOf(definition)
      found.set(definition.name, invalid({ ...definition.source, object, field: 'spec.dependsOn', message }))
      if (!applications.has(definition.name)) missing.push(definition.name)
    }
  }
  return [...found.values()]
}

/** Why a definition that is right by itself is not taken from there. */
function refuse(
  definition: Definition,
  rows: ReadonlyMap<string, StoredDefinition>,
  { owner, adopt }: SourceSettings,
): PlanProblem[] {
  const { kind, name, source } = definition
  const at = { ...source, object: keyOf(definition) }
  const repository = owner.startsWith('git:') ? owner.slice('git:'.length) : undefined
  if (kind === 'Repository') {
    const isItself = name === repository
    const follows = definition.spec.definitions !== undefined
    if (follows && !isItself) {
      const message = 'is given by hand only: what is followed for definitions is not named by definitions'
      return [{ ...at, code: 'FailedPrecondition', field: 'spec.definitions', message }]
    }
    if (isItself && !follows) {
      const message = `must stay in the repository's own definition: fairlead unbootstrap ${name} is what ends it`
      return [{ ...at, code: 'FailedPrecondition', field: 'spec.definitions', message }]
    }
  }
  const before = rows.get(keyOf(definition))
  if (!before || before.deleting !== null) return []
  const isTaken = before.owner === '' && (adopt || !compareDefinition(before, definition).isChanged)
  const problem = isTaken ? undefined : findOwnerProblem(before, owner)
  const way =
    before.owner === '' && repository !== undefined ? `; fairlead bootstrap ${repository} --adopt takes it over` : ''
  const message = problem && `${problem}${way}`
  return message === undefined ? [] : [{ ...at, code: 'FailedPrecondition', message }]
}

function planRemoval(
  { documents, isWhole }: { readonly documents: readonly ReadDocument[]; readonly isWhole: boolean },
  rows: readonly StoredDefinition[],
  { owner: source, place }: SourceSettings,
): Pick<DefinitionPlan, 'remove' | 'hold' | 'problems'> {
  const written = new Set(documents.map(({ object }) => object))
  // One of them may be what seems to be gone.
  const isSure = isWhole && documents.every(({ object }) => /^(Application|Repository|Cluster)\/./.test(object))
  const own = rows.filter(({ owner, deleting }) => owner === source && deleting === null)
  const gone = isSure ? own.filter((row) => !written.has(keyOf(row)) && !isItself(row, source)) : []
  // Labels of clusters place applications: what takes them away may take these away.
  const isCounted = ({ kind }: StoredDefinition): boolean => kind !== 'Repository'
  const counted = gone.filter(isCounted)
  const isHeld = (row: StoredDefinition): boolean => isCounted(row) && row.origin === ''
  const fresh = counted.filter((row) => !isHeld(row))
  const all = own.filter((row) => isCounted(row) && !isHeld(row))
  // One that makes others takes them along.
  const made = Map.groupBy(rows, ({ owner }) => owner)
  const weigh = (some: readonly StoredDefinition[]): number =>
    some.reduce((sum, { kind, name }) => {
      const along = kind === 'Application' ? (made.get(`application:${name}`)?.length ?? 0) : 0
      return sum + 1 + along
    }, 0)
  const isMany = weigh(fresh) >= MAX_REMOVALS || weigh(fresh) * 2 > weigh(all)
  const hold = counted.filter((row) => isHeld(row) || isMany || isProtected(row))
  const remove = gone.filter((row) => !hold.includes(row)).sort((a, b) => rank(a.kind) - rank(b.kind))
  const problems = hold.map((row): PlanProblem => {
    const why = isProtected(row) ? `it is labelled ${PROTECTED_LABEL}` : `too much left ${place} at once`
    const message = `is gone from ${place} and held, for ${why}: it stays until it is there again, or ${wayOut(row)}`
    return { code: 'PruneHeld', object: keyOf(row), message }
  })
  return { remove, hold, problems }
}

function wayOut({ kind, name }: StoredDefinition): string {
  if (kind === 'Application') return `is deleted by: fairlead delete application ${name}`
  return `its labels and values are taken away by: fairlead cluster label ${name} KEY-, fairlead cluster value ${name} KEY-`
}

/** The followed repository's own definition: leaving that out of Git does not end it. */
function isItself({ kind, name }: StoredDefinition, source: Owner): boolean {
  return kind === 'Repository' && source === `git:${name}`
}

function isProtected({ labels }: StoredDefinition): boolean {
  return (JSON.parse(labels) as Record<string, string>)[PROTECTED_LABEL] === 'true'
}
