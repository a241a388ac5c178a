// Which applications wait for which: what they name must exist, and nobody may wait for itself, however long the way round. Pure.
import type { ApplicationSpec } from '@fairlead/proto/definitions'
import { findNameProblem } from '../label-selector.ts'
import type { FieldProblem } from './document-shape.ts'

/** What each application depends on, by name. */
export type DependencyGraph = ReadonlyMap<string, readonly string[]>

/** What they depend on by their specs. */
export function toGraph(specs: ReadonlyMap<string, ApplicationSpec>): DependencyGraph {
  return new Map([...specs].map(([name, { dependsOn }]) => [name, dependsOn]))
}

/** Most applications that one may depend on directly. */
const MAX_DEPENDENCIES = 50

/** What is wrong with the dependencies of one application of the graph. */
export function findDependencyProblems(name: string, graph: DependencyGraph): FieldProblem[] {
  const dependsOn = graph.get(name) ?? []
  if (dependsOn.length > MAX_DEPENDENCIES) {
    return [{ field: 'spec.dependsOn', message: `lists more than ${MAX_DEPENDENCIES} applications` }]
  }
  const named = dependsOn.flatMap((other, index): FieldProblem[] => {
    const message = findNamed(other, dependsOn.indexOf(other) < index, graph)
    return message === undefined ? [] : [{ field: `spec.dependsOn[${index}]`, message }]
  })
  const cycle = findCycle(name, graph)
  if (cycle === undefined) return named
  const message = `waits for itself: ${cycle.join(' -> ')}`
  return [...named, { field: `spec.dependsOn[${dependsOn.indexOf(cycle[1] ?? '')}]`, message }]
}

function findNamed(other: string, isRepeated: boolean, graph: DependencyGraph): string | undefined {
  const problem = findNameProblem(other)
  if (problem !== undefined) return problem
  if (isRepeated) return `${other} is listed twice`
  return graph.has(other) ? undefined : `there is no Application ${other}, and none is applied along with this`
}

/** The shortest way from an application back to itself, both ends included. */
function findCycle(name: string, graph: DependencyGraph): string[] | undefined {
  /** What each was reached from: ways are not copied, as a row may be as long as there are applications. */
  const before = new Map<string, string>()
  const reached = [name]
  for (const each of reached) {
    for (const next of graph.get(each) ?? []) {
      if (next === name) return [...wayTo(each, name, before), name]
      if (before.has(next)) continue
      before.set(next, each)
      reached.push(next)
    }
  }
  return undefined
}

function wayTo(end: string, start: string, before: ReadonlyMap<string, string>): string[] {
  const way = [end]
  for (let each = end; each !== start; ) {
    each = before.get(each) ?? start
    way.push(each)
  }
  return way.reverse()
}
