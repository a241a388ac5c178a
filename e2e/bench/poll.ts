// Poll: 500 repositories that nobody pushes to, looked at every 30 s. What does the hub ask, and what does it cost?
import { symlinkSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startFleet } from '../harness/fleet.ts'
import { waitFor } from '../harness/wait.ts'
import { applicationDefinition } from '../scenarios/manifests.ts'
import { type Report, tenths } from './report.ts'

const repositories = 500
const seconds = 120
const intervalSeconds = 30

/** Runs the benchmark. */
export async function benchPoll(): Promise<Report> {
  await using fleet = await startFleet({ hubFlags: [`--poll-interval=${intervalSeconds}s`] })
  const { git } = fleet
  const shared = git.createRepository('shared')
  shared.commit({ 'web/a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n' })
  const names = Array.from({ length: repositories }, (_, index) => `r${index}`)
  for (const name of names) symlinkSync(shared.bare, path.join(git.folder, `${name}.git`))
  await fleet.apply(names.map((name) => repositoryDefinition(name, `${git.url}/${name}.git`)).join(''))
  await fleet.apply(names.map((name) => applicationDefinition(name, { repository: name, path: 'web' })).join(''))
  await waitFor(
    'every repository to be fetched',
    () => {
      const [row] = fleet.query(`SELECT count(*) AS count FROM refs WHERE "commit" <> ''`)
      return row?.count === repositories
    },
    { timeoutMs: 600_000, intervalMs: 500, alive: [fleet.hub] },
  )
  // Until the work that the fetches brought is done.
  await delay(intervalSeconds * 1_000)
  git.resetCounts()
  const before = fleet.hub.usage()
  await delay(seconds * 1_000)
  const after = fleet.hub.usage()
  const requestsPerMinute = Math.round((git.counts.requests * 60) / seconds)
  const cpuPercent = tenths((after.cpuMs - before.cpuMs) / (seconds * 10))
  const rssMiB = tenths(after.rssBytes / 2 ** 20)
  const expected = (repositories * 60) / intervalSeconds
  return {
    rows: [
      [
        `${repositories} repositories, every ${intervalSeconds} s: requests a minute`,
        `${requestsPerMinute}`,
        `1 each time: ${expected}`,
      ],
      ['processor', `${cpuPercent} % of a core`, 'bound 10 %'],
      ['resident memory', `${rssMiB} MiB`, ''],
    ],
    json: { bench: 'poll', repositories, intervalSeconds, seconds, requestsPerMinute, cpuPercent, rssMiB },
  }
}

/** One that says nothing of how often to look. */
function repositoryDefinition(name: string, url: string): string {
  const metadata = { name }
  return `---\n${JSON.stringify({ apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', metadata, spec: { url } })}\n`
}
