// What the registry writes is what a strict reader of the format takes.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseExposition, sumOf } from '@fairlead/e2e/harness/exposition'
import { describe, expect, test } from 'vitest'
import { AgentMetrics } from './agent-metrics.ts'
import { Registry } from './registry.ts'

describe('registry', () => {
  test('counters, gauges and histograms are read as they were written', () => {
    const registry = new Registry()
    const requests = registry.counter({ name: 'requests_total', help: 'Requests.\nAnd more', labels: ['code', 'path'] })
    requests.add(['200', 'a "quoted" \\ path\nwith a break'])
    requests.add(['500', ''], 3)
    const plain = registry.counter({ name: 'plain_total', help: 'Begins at zero.' })
    registry.gauge({ name: 'depth', help: 'Depth.', labels: ['queue'] }, () => [{ labels: ['x'], value: 2.5 }])
    registry.gauge({ name: 'endless', help: 'Endless.' }, () => Number.POSITIVE_INFINITY)
    const seconds = registry.histogram({ name: 'time_seconds', help: 'Time.', labels: ['verb'] }, [0.1, 1])
    for (const value of [0.05, 0.1, 0.5, 7]) seconds.observe(value, ['get'])
    const read = parseExposition(registry.expose())
    expect(sumOf(read, 'requests_total')).toBe(4)
    expect(read.get('requests_total')?.samples[0]?.labels.path).toBe('a "quoted" \\ path\nwith a break')
    expect(sumOf(read, 'plain_total')).toBe(0)
    expect(sumOf(read, 'depth', { queue: 'x' })).toBe(2.5)
    expect(sumOf(read, 'endless')).toBe(Number.POSITIVE_INFINITY)
    expect(read.get('time_seconds')?.samples.map(({ value }) => value)).toEqual([2, 3, 4, 7.65, 4])
    plain.add()
    expect(sumOf(parseExposition(registry.expose()), 'plain_total')).toBe(1)
  })

  test('a metric whose reader fails, or says nothing, is left out and takes no other with it', () => {
    const registry = new Registry()
    registry.gauge({ name: 'broken', help: 'Broken.' }, () => {
      throw new Error('no')
    })
    registry.gauge({ name: 'silent', help: 'Silent.' }, () => [])
    registry.counter({ name: 'well_total', help: 'Well.' })
    expect([...parseExposition(registry.expose()).keys()]).toEqual(['well_total'])
  })

  test('however many label values come, there are no more than so many series', () => {
    const registry = new Registry()
    const counter = registry.counter({ name: 'many_total', help: 'Many.', labels: ['name'] })
    for (let index = 0; index < 5_000; index++) counter.add([`name-${index}`])
    const { samples = [] } = parseExposition(registry.expose()).get('many_total') ?? {}
    expect(samples.length).toBeLessThanOrEqual(201)
    expect(samples.reduce((sum, { value }) => sum + value, 0)).toBe(5_000)
    expect(samples.at(-1)?.labels.name).toBe('other')
  })

  test('a name that is taken or malformed is refused', () => {
    const registry = new Registry()
    registry.counter({ name: 'once_total', help: 'Once.' })
    expect(() => registry.counter({ name: 'once_total', help: 'Twice.' })).toThrow('exists already')
    expect(() => registry.counter({ name: 'not-a-name', help: 'Bad.' })).toThrow('not the name')
  })
})

test('the strict reader refuses what is not the format', () => {
  const wrong = [
    ['no end', '# HELP a_total A.\n# TYPE a_total counter\na_total 1'],
    ['no type', 'a_total 1\n'],
    ['no help', '# TYPE a_total counter\na_total 1\n'],
    ['counter without _total', '# HELP a A.\n# TYPE a counter\na 1\n'],
    ['twice', '# HELP a A.\n# TYPE a gauge\na 1\na 2\n'],
    ['comma', '# HELP a A.\n# TYPE a gauge\na{b="c",} 1\n'],
    ['no number', '# HELP a A.\n# TYPE a gauge\na one\n'],
    ['buckets', '# HELP a A.\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n'],
  ]
  for (const [what = '', text = ''] of wrong) expect(() => parseExposition(text), what).toThrow()
})

test('the metrics of an agent are a valid exposition', () => {
  const metrics = new AgentMetrics()
  metrics.observe({
    isLeader: () => true,
    isJoined: () => true,
    isConnected: () => false,
    sliceGeneration: () => 1_790_000_000_000n,
    sliceIssuedAtMs: () => Date.now() - 5_000,
    applications: () => [
      { sync: 'Synced', health: 'Healthy', objects: 4 },
      { sync: 'Synced', health: 'Healthy', objects: 3 },
      { sync: 'OutOfSync', health: 'Degraded', objects: 2 },
    ],
    watches: () => ['live', 'live', 'forbidden'],
    queues: () => ({ apply: 0, repair: 3 }),
  })
  metrics.request({ verb: 'patch', status: 200, durationMs: 3 })
  metrics.request({ verb: 'watch', status: 200, durationMs: 3 })
  const read = parseExposition(metrics.registry.expose())
  expect(sumOf(read, 'fairlead_agent_applications', { sync: 'Synced', health: 'Healthy' })).toBe(2)
  expect(sumOf(read, 'fairlead_agent_objects')).toBe(9)
  expect(sumOf(read, 'fairlead_agent_watches', { state: 'live' })).toBe(2)
  expect(sumOf(read, 'fairlead_agent_queue_depth', { queue: 'repair' })).toBe(3)
  expect(sumOf(read, 'fairlead_agent_slice_generation')).toBe(1_790_000_000_000)
  expect(sumOf(read, 'fairlead_agent_slice_age_seconds')).toBeCloseTo(5, 0)
  expect(sumOf(read, 'fairlead_agent_api_requests_total', { verb: 'patch', code: '200' })).toBe(1)
  expect(sumOf(read, 'fairlead_agent_api_request_duration_seconds')).toBe(1)
  expect(sumOf(read, 'process_resident_memory_bytes')).toBeGreaterThan(1e6)
})

test('the operations page names every metric, and no other', () => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/operations/agent.md'), 'utf8')
  const named = new Set(
    page.match(/`(fairlead_agent|process|nodejs)_[a-z_]+`/g)?.map((name) => name.replaceAll('`', '')),
  )
  const metrics = new AgentMetrics()
  metrics.observe({
    isLeader: () => true,
    isJoined: () => true,
    isConnected: () => true,
    sliceGeneration: () => 0n,
    sliceIssuedAtMs: () => 0,
    applications: () => [],
    watches: () => [],
    queues: () => ({}),
  })
  expect([...named].toSorted()).toEqual(metrics.registry.names().toSorted())
})
