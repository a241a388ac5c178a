// What the forEach of an Application must be.
import { type ApplicationSpec, ApplicationSpecSchema, type ForEach } from '@fairlead/proto/definitions'
import { findSelectorProblems } from '../label-selector.ts'
import { type FieldProblem, shapeDocument } from './document-shape.ts'
import { findVariables } from './each-variables.ts'
import { findPathProblem } from './source-path.ts'

const KINDS = ['folders', 'file', 'clusters'] as const
/** What may be given beside forEach. */
const BESIDE: readonly string[] = ['forEach', 'suspend']
const MAX_EXCLUDES = 100
const MAX_STARS = 3
const FIXED: Readonly<Record<'folders' | 'clusters', RegExp>> = {
  folders: /^(?:path|name|part[1-9][0-9]?)$/,
  clusters: /^(?:name|(?:labels|values)\..+)$/,
}

/** Everything that is wrong with `spec.forEach`, and what is given beside it. `findRepositoryProblem` says what is wrong with the name of a repository, `findRefProblem` with a ref. */
export function findForEachProblems(
  spec: ApplicationSpec,
  {
    findRepositoryProblem,
    findRefProblem,
  }: {
    readonly findRepositoryProblem: (name: string) => string | undefined
    readonly findRefProblem: (ref: string) => string | undefined
  },
): FieldProblem[] {
  const { forEach } = spec
  if (!forEach) return []
  const at = (field: string, message: string | undefined): FieldProblem[] =>
    message === undefined ? [] : [{ field: `spec.forEach${field}`, message }]
  const given = KINDS.filter((kind) => forEach[kind] !== undefined)
  const { folders, file, clusters, template } = forEach
  const inputs = [
    ...(folders ? [{ field: '.folders', ...folders }] : []),
    ...(file ? [{ field: '.file', ...file }] : []),
  ]
  return [
    ...findBesides(spec),
    ...at('', given.length === 1 ? undefined : 'give exactly one of folders, file and clusters'),
    ...inputs.flatMap(({ field, repository, ref, path }) => [
      ...at(`${field}.repository`, findRepositoryProblem(repository)),
      ...at(`${field}.ref`, findRefProblem(ref)),
      ...at(`${field}.path`, path === '' ? 'is missing' : (findPathProblem(path) ?? findPatternProblem(path))),
    ]),
    ...(folders?.exclude ?? []).flatMap((pattern, index) =>
      at(`.folders.exclude[${index}]`, findPathProblem(pattern) ?? findPatternProblem(pattern)),
    ),
    ...at(
      '.folders.exclude',
      (folders?.exclude.length ?? 0) > MAX_EXCLUDES ? `are more than ${MAX_EXCLUDES}` : undefined,
    ),
    ...(clusters ? findSelectorProblems(clusters) : []).map(({ field, message }) => ({
      field: `spec.forEach.clusters.${field}`,
      message,
    })),
    ...(template ? findTemplateProblems(template) : at('.template', 'is missing: the spec of each Application')),
    ...findVariableProblems(forEach),
  ]
}

/** Many stars in one name could be matched in very many ways, and whoever pushes gives the names. */
function findPatternProblem(pattern: string): string | undefined {
  const most = Math.max(...pattern.split('/').map((part) => part.split('*').length - 1))
  return most > MAX_STARS ? `has more than ${MAX_STARS} "*" in one name` : undefined
}

function findBesides(spec: ApplicationSpec): FieldProblem[] {
  const { $typeName: _type, $unknown: _unknown, ...fields } = spec
  return Object.entries(fields).flatMap(([name, value]) => {
    const isGiven = Array.isArray(value) ? value.length > 0 : value !== undefined && value !== ''
    if (!isGiven || BESIDE.includes(name)) return []
    return [
      {
        field: `spec.${name}`,
        message: 'is of the Applications that forEach makes: write it into spec.forEach.template',
      },
    ]
  })
}

function findTemplateProblems(template: NonNullable<ForEach['template']>): FieldProblem[] {
  const field = 'spec.forEach.template'
  if (template.forEach !== undefined) return [{ field: `${field}.forEach`, message: 'cannot be nested' }]
  return [...shapeDocument(ApplicationSpecSchema, template, field).problems]
}

/** Of folders and clusters it is known what there is; of the entries of a file only when they are read. */
function findVariableProblems(forEach: ForEach): FieldProblem[] {
  const kind = forEach.folders ? 'folders' : forEach.clusters ? 'clusters' : undefined
  if (kind === undefined) return []
  const { name, labels, template = {} } = forEach
  return findVariables({ name, labels, template }).flatMap(({ path, variable }) => {
    if (FIXED[kind].test(variable)) return []
    const known = kind === 'folders' ? 'path, name, part1, part2...' : 'name, labels.<key> and values.<key>'
    return [
      { field: `spec.forEach.${path}`, message: `\${each.${variable}} is not known: of ${kind} there are ${known}` },
    ]
  })
}
