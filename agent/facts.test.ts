// What is told of an API server that answers in part, or serves very much.
import { silentLogger } from '@fairlead/shared/logger'
import { expect, test } from 'vitest'
import { ClusterFacts } from './facts.ts'
import type { ServedKinds } from './kube/kube.ts'

function factsOf(answers: ServedKinds[]): ClusterFacts {
  const kube = {
    request: async () => await Promise.resolve({ status: 503, body: undefined, headers: {} }),
    servedKinds: async () => await Promise.resolve(answers.shift() ?? { kinds: new Map(), unread: [] }),
  }
  return new ClusterFacts({ kube, isLimited: false, logger: silentLogger, onChange: () => undefined })
}
const answer = (kinds: Record<string, string[]>, unread: string[] = []): ServedKinds => ({
  kinds: new Map(Object.entries(kinds)),
  unread,
})
const { signal } = new AbortController()
const versionsOf = async (facts: ClusterFacts) => (await facts.read(signal)).served.map(({ apiVersion }) => apiVersion)

test('an aggregated API that does not answer for a while has not gone, and one that is not there any more has', async () => {
  const all = { v1: ['Pod'], 'metrics.k8s.io/v1': ['PodMetrics'], 'gone.io/v1': ['Gone'] }
  const facts = factsOf([answer(all), answer({ v1: ['Pod'] }, ['metrics.k8s.io']), answer({ v1: ['Pod'] })])
  expect(await versionsOf(facts)).toEqual(['gone.io/v1', 'metrics.k8s.io/v1', 'v1'])
  expect(await versionsOf(facts)).toEqual(['metrics.k8s.io/v1', 'v1'])
  expect(await versionsOf(facts)).toEqual(['v1'])
})

test('more than a report has room for is not told, not even in part', async () => {
  const many = Array.from({ length: 1_000 }, (_, index) => [`group-${index}.example.com/v1`, ['SomeLongKindOfThing']])
  const facts = factsOf([answer(Object.fromEntries(many)), answer({ v1: ['Pod'] }), answer(Object.fromEntries(many))])
  expect(await versionsOf(facts)).toEqual([])
  expect(await versionsOf(facts)).toEqual(['v1'])
  expect(await versionsOf(facts)).toEqual(['v1'])
})
