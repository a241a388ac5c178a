// Render: one repository of 20,000 files, of which 500 applications take 40 each. A commit changes one of them: how many are
// rendered, and how long from the end of the fetch until NATS has the new slice?
import { setTimeout as delay } from 'node:timers/promises'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition, configMap } from '../scenarios/manifests.ts'
import { type HubLine, readHubLog } from './hub-log.ts'
import { percentile, type Report } from './report.ts'
import { createWebhooks } from './webhook.ts'

const applications = 500
const filesEach = 40
const samples = 30

/** Runs the benchmark. */
export async function benchRender(): Promise<Report> {
  const webhooks = await createWebhooks()
  await using fleet = await startFleet({ hubFlags: [...webhooks.hubFlags, '--log-level=debug'] })
  const repository = fleet.git.createRepository('monorepo')
  const names = Array.from({ length: applications }, (_, index) => `app-${index}`)
  repository.commit(Object.fromEntries(names.flatMap((name) => filesOf(name))))
  // Its slices are published whether it comes or not.
  await fleet.cli('cluster', 'register', 'bench')
  await fleet.apply(webhooks.define(fleet, repository))
  await fleet.apply(names.map((name) => applicationDefinition(name, { repository: 'monorepo' })).join(''))
  await waitUntilPublished(fleet)
  const [rendered, latencies]: [number[], number[]] = [[], []]
  for (let sample = 0; sample < samples; sample++) {
    const name = `app-${(sample * 17) % applications}`
    const oid = repository.commit({ [`${name}/c0.yaml`]: configMap('c0', { value: `changed ${sample}` }) })
    const since = Date.now()
    await webhooks.push(repository, oid)
    const published = await waitFor('the slice to be published', () => find(fleet, since, 'slice published'), {
      timeoutMs: 30_000,
      logs: [fleet.hub],
    })
    // Whatever else would be rendered by it has been by then.
    await delay(1_000)
    const fetched = find(fleet, since, 'repository fetched')
    if (!fetched) throw new Error('the hub has logged no fetch')
    const outcomes = readHubLog(fleet, since).filter(({ outcome }) => outcome === 'rendered')
    rendered.push(outcomes.length)
    latencies.push(published.time - fetched.time)
  }
  const fetchToPublishMs = percentile(latencies, 0.5)
  const most = Math.max(...rendered)
  return {
    rows: [
      [`of ${applications} applications rendered for a commit that changes one`, `${most}`, 'bound 1'],
      ['from the end of the fetch to the published slice, p50', `${fetchToPublishMs} ms`, 'bound 200 ms'],
      ['largest', `${Math.max(...latencies)} ms`, ''],
    ],
    json: {
      bench: 'render',
      files: applications * filesEach,
      applications,
      samples,
      rendered: most,
      fetchToPublishMs,
      maxMs: Math.max(...latencies),
    },
  }
}

function filesOf(name: string): (readonly [string, string])[] {
  return Array.from(
    { length: filesEach },
    (_, index) => [`${name}/c${index}.yaml`, configMap(`c${index}`, { name, filler: 'x'.repeat(500) })] as const,
  )
}

function find(fleet: Fleet, since: number, message: string): HubLine | undefined {
  return readHubLog(fleet, since).findLast(({ msg }) => msg === message)
}

async function waitUntilPublished(fleet: Fleet): Promise<void> {
  const options = { timeoutMs: 300_000, intervalMs: 500, alive: [fleet.hub] }
  await waitFor(
    'all applications to be rendered and published',
    (see) => {
      const [renders] = fleet.query('SELECT count(*) AS count FROM renders WHERE artifact_digest IS NOT NULL')
      const [outbox] = fleet.query('SELECT count(*) AS count FROM outbox')
      see({ ...renders, outbox: outbox?.count })
      return renders?.count === applications && outbox?.count === 0
    },
    options,
  )
  await delay(2_000)
}
