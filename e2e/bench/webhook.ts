// Pushes that are told by a webhook, as a Git host would: a poll would come at any time within its interval.
import { createHmac, randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Fleet } from '../harness/fleet.ts'
import type { GitRepository } from '../harness/git-server.ts'
import { takePort } from '../harness/ports.ts'

const secret = 'a long random secret'

/** The webhooks of one hub. */
export interface Webhooks {
  /** What the hub is to be started with. */
  readonly hubFlags: readonly string[]
  /** The definition of a repository that is looked at when a webhook says so, and else once a day. */
  define(fleet: Fleet, repository: GitRepository): string
  /** Tells of a commit on main; resolves when the hub has taken it. */
  push(repository: GitRepository, oid: string): Promise<void>
}

/** Makes them, on a port of their own. */
export async function createWebhooks(): Promise<Webhooks> {
  const port = await takePort()
  return {
    hubFlags: [`--webhook-listen=127.0.0.1:${port}`, '--webhook-tls=off'],
    define: (fleet, { name, url }) => {
      const file = path.join(fleet.dataDir, 'credentials', 'hook')
      mkdirSync(path.dirname(file), { recursive: true })
      writeFileSync(file, secret)
      const spec = { url, pollInterval: '24h', webhook: { secretFrom: `file:${file}` } }
      return `---\n${JSON.stringify({ apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', metadata: { name }, spec })}\n`
    },
    push: async ({ url }, after) => {
      const body = JSON.stringify({ ref: 'refs/heads/main', after, repository: { clone_url: url } })
      const headers = {
        'content-type': 'application/json',
        'x-github-event': 'push',
        'x-github-delivery': randomUUID(),
        'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
      }
      const answer = await fetch(`http://127.0.0.1:${port}/hooks`, { method: 'POST', headers, body })
      if (answer.status !== 202) throw new Error(`the hub answers a webhook with ${answer.status}`)
    },
  }
}
