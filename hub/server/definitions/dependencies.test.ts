import { expect, test } from 'vitest'
import { findDependencyProblems } from './dependencies.ts'

const graph = (edges: Record<string, string[]>) => new Map(Object.entries(edges))

test('applications may depend on each other in any shape that has no cycle', () => {
  const diamond = graph({ web: ['api', 'cache'], api: ['db'], cache: ['db'], db: [] })
  expect([...diamond.keys()].flatMap((name) => findDependencyProblems(name, diamond))).toEqual([])
})

test.each([
  [{ web: ['web'] }, 'web', 'waits for itself: web -> web'],
  [{ web: ['api'], api: ['web'] }, 'api', 'waits for itself: api -> web -> api'],
  [{ a: ['x', 'b'], x: [], b: ['c', 'd'], c: ['d'], d: ['a'] }, 'a', 'waits for itself: a -> b -> d -> a'],
  [{ web: ['db', 'db'], db: [] }, 'web', 'db is listed twice'],
  [{ web: ['db'] }, 'web', 'there is no Application db, and none is applied along with this'],
])('%j is refused at %s: %s', (edges, name, message) => {
  expect(findDependencyProblems(name, graph(edges as never)).map((problem) => problem.message)).toEqual([message])
})

test('a cycle that an application only leads to is none of its own', () => {
  const tail = graph({ start: ['a'], a: ['b'], b: ['a'] })
  expect(findDependencyProblems('start', tail)).toEqual([])
  expect(findDependencyProblems('a', tail)).toHaveLength(1)
})

test('a name that is none, and more names than anybody means, are refused', () => {
  expect(findDependencyProblems('web', graph({ web: ['../x'] }))[0]?.field).toBe('spec.dependsOn[0]')
  const many = Array.from({ length: 51 }, (_, index) => `a${index}`)
  expect(findDependencyProblems('web', graph({ web: many }))).toMatchObject([{ field: 'spec.dependsOn' }])
})

test('ten thousand applications in one row are looked at without a deep stack', () => {
  const row = new Map(Array.from({ length: 10_000 }, (_, index) => [`a${index}`, [`a${(index + 1) % 10_000}`]]))
  expect(findDependencyProblems('a5', row)).toHaveLength(1)
})
