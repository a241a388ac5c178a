// How definitions choose clusters: by labels or by name.
import type { LabelSelector } from '@fairlead/proto/definitions'
import { findNameProblem, findSelectorProblems } from '../label-selector.ts'
import type { FieldProblem } from './document-shape.ts'

/** What must be given. */
export const CHOICE_RULE = 'give exactly one of clusters (a label selector; {} for every cluster) and names'

/** A choice of clusters. */
export interface ClusterChoice {
  readonly clusters?: LabelSelector | undefined
  readonly names: readonly string[]
}

/** Everything that is wrong with the choice at `field`. */
export function findChoiceProblems(field: string, { clusters, names }: ClusterChoice): FieldProblem[] {
  if ((clusters === undefined) === (names.length === 0)) return [{ field, message: CHOICE_RULE }]
  const selectorProblems = clusters ? findSelectorProblems(clusters) : []
  return [
    ...selectorProblems.map((problem) => ({ ...problem, field: `${field}.clusters.${problem.field}` })),
    ...names.flatMap((name, index) => {
      const message = findNameProblem(name) ?? (names.indexOf(name) < index ? `${name} is listed twice` : undefined)
      return message === undefined ? [] : [{ field: `${field}.names[${index}]`, message }]
    }),
  ]
}
