// What an Application must be beyond its shape.
import type { ApplicationSource, ApplicationSpec, Placement } from '@fairlead/proto/definitions'
import { findNameProblem } from '../label-selector.ts'
import { findChartProblem, isDigestRef } from '../package-reference.ts'
import { findVersionRange, isVersionRef } from '../version-range.ts'
import { CHOICE_RULE, findChoiceProblems } from './cluster-choice.ts'
import type { FieldProblem } from './document-shape.ts'
import { findForEachProblems } from './for-each-rules.ts'
import { findHealthProblems } from './health-rules.ts'
import { findIgnoreProblems } from './ignore-rules.ts'
import { findOverrideProblems } from './override-rules.ts'
import { findRenderProblems } from './render-rules.ts'
import { findPathProblem, normalizePath } from './source-path.ts'

const ADOPT_VALUES: readonly string[] = ['', 'never', 'ifEqual', 'always']
const DELETION_POLICIES: readonly string[] = ['', 'delete', 'orphan']
const VALIDATE_VALUES: readonly string[] = ['', 'server']
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/
const MAX_REF_LENGTH = 255
const MAX_VALUE_FILES = 50

/** Everything that is wrong with an application. `isRepository` says whether a name is that of a repository. */
export function findApplicationProblems(
  spec: ApplicationSpec,
  isRepository: (name: string) => boolean,
): FieldProblem[] {
  const namespaceProblem = spec.namespace === '' ? undefined : findNameProblem(spec.namespace)
  const adopt = spec.sync?.adopt ?? ''
  if (spec.forEach) {
    return findForEachProblems(spec, {
      findRepositoryProblem: (name) => findRepositoryReferenceProblem(name, isRepository),
      findRefProblem,
    })
  }
  return [
    ...findSourceProblems(spec.source, isRepository),
    ...findValueFileProblems(spec, isRepository),
    ...findPlacementProblems(spec.placement),
    ...problemAt('spec.namespace', namespaceProblem),
    ...problemAt(
      'spec.sync.adopt',
      ADOPT_VALUES.includes(adopt) ? undefined : `${JSON.stringify(adopt)} is none of never, ifEqual, always`,
    ),
    ...findHealthProblems(spec.health),
    ...findRenderProblems(spec.render),
    ...findOverrideProblems(spec),
    ...findIgnoreProblems(spec.sync?.ignoreFields ?? []),
    ...problemAt('spec.sync.deletionPolicy', findDeletionPolicyProblem(spec.sync?.deletionPolicy ?? '')),
    ...problemAt('spec.sync.validate', findValidateProblem(spec.sync?.validate ?? '')),
    ...problemAt('spec.sync.serviceAccount', findServiceAccountProblem(spec.sync?.serviceAccount ?? '')),
  ]
}

function problemAt(field: string, message: string | undefined): FieldProblem[] {
  return message === undefined ? [] : [{ field, message }]
}

function findSourceProblems(
  source: ApplicationSource | undefined,
  isRepository: (name: string) => boolean,
): FieldProblem[] {
  if (!source) return problemAt('spec.source', 'is missing: where the manifests are')
  return [
    ...problemAt('spec.source.repository', findRepositoryReferenceProblem(source.repository, isRepository)),
    ...problemAt('spec.source.chart', findChartProblem(source.chart)),
    ...findPlaceProblems('spec.source', source),
  ]
}

/** What is wrong with value files of other repositories. */
function findValueFileProblems(
  { render, overrides }: ApplicationSpec,
  isRepository: (name: string) => boolean,
): FieldProblem[] {
  const lists = [
    { field: 'spec.render.helm', helm: render?.helm },
    ...overrides.map(({ helm }, index) => ({ field: `spec.overrides[${index}].helm`, helm })),
  ]
  return lists.flatMap(({ field, helm }) => {
    const files = helm?.valuesFrom ?? []
    if (files.length > MAX_VALUE_FILES) return problemAt(`${field}.valuesFrom`, `are more than ${MAX_VALUE_FILES}`)
    return files.flatMap((file, index) => {
      const at = `${field}.valuesFrom[${index}]`
      return [
        ...problemAt(`${at}.repository`, findRepositoryReferenceProblem(file.repository, isRepository)),
        ...problemAt(
          `${at}.path`,
          normalizePath(file.path) === '' ? 'is missing: the file with the values' : undefined,
        ),
        ...findPlaceProblems(at, file),
      ]
    })
  })
}

function findRepositoryReferenceProblem(name: string, isRepository: (name: string) => boolean): string | undefined {
  if (name === '') return 'is missing: the name of a Repository'
  if (isRepository(name)) return undefined
  return `there is no Repository ${JSON.stringify(name.slice(0, 80))}, and none is applied along with this`
}

function findDeletionPolicyProblem(policy: string): string | undefined {
  return DELETION_POLICIES.includes(policy) ? undefined : `${JSON.stringify(policy)} is none of delete, orphan`
}

function findValidateProblem(validate: string): string | undefined {
  if (VALIDATE_VALUES.includes(validate)) return undefined
  return `${JSON.stringify(validate.slice(0, 80))} is not "server"; leave it out to check nothing beforehand`
}

/** ServiceAccount names are DNS subdomains (Kubernetes, "Object Names and IDs"); nothing else ends up in the agent's headers. */
function findServiceAccountProblem(name: string): string | undefined {
  if (name === '' || (name.length <= 253 && SUBDOMAIN.test(name))) return undefined
  return `${JSON.stringify(name.slice(0, 80))} is not the name of a ServiceAccount: lower-case letters, digits, "-" and "."`
}

/** What is wrong with a place in a repository; `field` is that of the place. */
export function findPlaceProblems(
  field: string,
  { ref, path }: { readonly ref: string; readonly path: string },
): FieldProblem[] {
  return [...problemAt(`${field}.ref`, findRefProblem(ref)), ...problemAt(`${field}.path`, findPathProblem(path))]
}

/** The rules of git-check-ref-format that matter here: nothing that Git could read as an option, a range or a pattern. */
function findRefProblem(ref: string): string | undefined {
  if (ref === '') return undefined
  if (ref.length > MAX_REF_LENGTH) return `is longer than ${MAX_REF_LENGTH} characters`
  if (isVersionRef(ref)) {
    if (findVersionRange(ref)) return undefined
    return `${JSON.stringify(ref)} names no range of versions; write for example semver:^1.2 or semver:>=1.0 <3`
  }
  if (isDigestRef(ref)) return undefined
  const isWellFormed =
    !/[\x00-\x20\x7f~^:?*[\\]/.test(ref) &&
    !/\.\.|\/\/|@\{|\/\.|\.lock(\/|$)/.test(ref) &&
    !/^[-./]|[./]$/.test(ref) &&
    ref !== '@'
  return isWellFormed ? undefined : `${JSON.stringify(ref)} is not a branch, a tag, a full commit id or semver:<range>`
}

function findPlacementProblems(placement: Placement | undefined): FieldProblem[] {
  if (placement) return findChoiceProblems('spec.placement', placement)
  return problemAt('spec.placement', `is missing: ${CHOICE_RULE}`)
}
