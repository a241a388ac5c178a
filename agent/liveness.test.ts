// What fails /healthz, /readyz and what does not; and that the endpoints say so.
import { afterEach, expect, test } from 'vitest'
import { Liveness } from './liveness.ts'
import { type ProbeSources, type Probes, startProbes } from './probes.ts'

let probes: Probes | undefined
afterEach(() => probes?.stop())

async function get(path: string, init: RequestInit = {}) {
  const response = await fetch(`http://127.0.0.1:${probes?.port}${path}`, init)
  return { status: response.status, text: await response.text() }
}

const well: ProbeSources = {
  readiness: () => ({ isReady: true, detail: {} }),
  findStuck: () => [],
  metrics: () => '# HELP a A.\n# TYPE a gauge\na 1\n',
}

test('a loop that has not turned for too long fails /healthz, which names it, and mends when it turns again', async () => {
  let nowMs = 0
  const liveness = new Liveness(() => nowMs)
  const loop = liveness.loop('the heartbeat', 60_000)
  probes = await startProbes(0, { ...well, findStuck: () => liveness.findStuck() })
  nowMs = 60_000
  expect((await get('/healthz')).status).toBe(200)
  nowMs = 61_000
  const stuck = await get('/healthz')
  expect(stuck.status).toBe(503)
  expect(stuck.text).toContain('the heartbeat has not turned for 61 s')
  loop.turned()
  expect((await get('/healthz')).status).toBe(200)
})

test('a write that never ends fails /healthz, and a part that was stopped does not', async () => {
  const liveness = new Liveness()
  let stuck: string | undefined = 'a write has been under way for 1000 s'
  const check = liveness.check('writes', () => stuck)
  expect(liveness.findStuck()).toEqual([stuck])
  stuck = undefined
  expect(liveness.findStuck()).toEqual([])
  stuck = 'again'
  check.ended()
  expect(liveness.findStuck()).toEqual([])
  let nowMs = 0
  const stopped = new Liveness(() => nowMs)
  stopped.loop('the heartbeat', 10).ended()
  nowMs = 1_000
  expect(stopped.findStuck()).toEqual([])
})

test('the sign of an earlier term does not end that of a later one', () => {
  let nowMs = 0
  const liveness = new Liveness(() => nowMs)
  const first = liveness.loop('the heartbeat', 10)
  liveness.loop('the heartbeat', 10)
  first.ended()
  nowMs = 100
  expect(liveness.findStuck()).toHaveLength(1)
})

test('only GET is answered, /metrics only where it is wanted, and nothing else is there', async () => {
  probes = await startProbes(0, well)
  expect((await get('/metrics')).text).toContain('a 1')
  expect((await get('/healthz', { method: 'POST' })).status).toBe(404)
  for (const path of ['/', '/status', '/support-bundle', '/metrics/..', '/debug']) {
    expect((await get(path)).status, path).toBe(404)
  }
  await probes.stop()
  probes = await startProbes(0, { ...well, metrics: undefined })
  expect((await get('/metrics')).status).toBe(404)
})
