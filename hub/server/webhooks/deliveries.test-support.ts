// Deliveries as the Git hosts send them (their documentation, with the fields that matter not left out where they might
// mislead), each signed in its host's way.
import { createHmac, randomUUID } from 'node:crypto'

/** One delivery. */
export interface SampleDelivery {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What is pushed where. */
export interface SamplePush {
  /** Address for HTTP without `.git`, for example https://github.com/acme/shop. */
  readonly url: string
  readonly secret: string
  readonly ref?: string
  readonly before?: string
  readonly after: string
}

/** A push as each host tells of it. */
export const HOSTS = {
  github,
  githubForm,
  gitlab,
  gitlabSystem,
  gitea,
  forgejo,
  bitbucketCloud,
  bitbucketServer,
  bearer,
  standard,
}

const ZEROS = '0'.repeat(40)

function hmac(secret: string, body: string, algorithm = 'sha256'): string {
  return createHmac(algorithm, secret).update(body).digest('hex')
}

function github({ url, secret, ref = 'refs/heads/main', before = ZEROS, after }: SamplePush): SampleDelivery {
  const path = URL.parse(url)?.pathname.slice(1) ?? ''
  const host = URL.parse(url)?.host
  const body = JSON.stringify({
    ref,
    before,
    after,
    repository: {
      id: 186853002,
      name: 'shop',
      full_name: path,
      private: true,
      owner: { login: 'acme', url: 'https://api.github.com/users/acme', html_url: `https://${host}/acme` },
      html_url: url,
      url,
      forks_url: `https://api.${host}/repos/${path}/forks`,
      git_url: `git://${host}/${path}.git`,
      ssh_url: `git@${host}:${path}.git`,
      clone_url: `${url}.git`,
      svn_url: url,
      pushed_at: 1764000000,
      default_branch: 'main',
    },
    pusher: { name: 'dev', email: 'dev@example.com' },
    sender: { login: 'dev', html_url: `https://${host}/dev`, url: `https://api.${host}/users/dev` },
    created: before === ZEROS,
    deleted: after === ZEROS,
    forced: false,
    base_ref: null,
    compare: `${url}/compare/x...y`,
    commits: [{ id: after, tree_id: before, message: 'change', url: `${url}/commit/${after}`, added: ['a'] }],
    head_commit: { id: after, message: 'change' },
  })
  return { headers: githubHeaders('push', secret, body), body }
}

/** The same as a form, which GitHub sends unless JSON is chosen. */
function githubForm(push: SamplePush): SampleDelivery {
  const body = new URLSearchParams({ payload: github(push).body }).toString()
  const type = { 'content-type': 'application/x-www-form-urlencoded' }
  return { headers: { ...githubHeaders('push', push.secret, body), ...type }, body }
}

/** What GitHub sends first. */
export function githubPing({ url, secret }: SamplePush): SampleDelivery {
  const body = JSON.stringify({ zen: 'Design for failure.', hook_id: 1, repository: { clone_url: `${url}.git` } })
  return { headers: githubHeaders('ping', secret, body), body }
}

function githubHeaders(event: string, secret: string, body: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    'user-agent': 'GitHub-Hookshot/044aadd',
    'x-github-event': event,
    'x-github-delivery': randomUUID(),
    'x-github-hook-id': '292430182',
    'x-hub-signature': `sha1=${hmac(secret, body, 'sha1')}`,
    'x-hub-signature-256': `sha256=${hmac(secret, body)}`,
  }
}

function gitlabBody({ url, ref = 'refs/heads/main', before = ZEROS, after }: SamplePush): Record<string, unknown> {
  const { host, pathname = '' } = URL.parse(url) ?? {}
  const ssh = `git@${host}:${pathname.slice(1)}.git`
  const isTag = ref.startsWith('refs/tags/')
  const addresses = { git_ssh_url: ssh, git_http_url: `${url}.git`, visibility_level: 0 }
  return {
    object_kind: isTag ? 'tag_push' : 'push',
    event_name: isTag ? 'tag_push' : 'push',
    before,
    after,
    ref,
    ref_protected: true,
    checkout_sha: after === ZEROS ? null : after,
    message: null,
    user_id: 4,
    user_username: 'dev',
    project_id: 15,
    project: { id: 15, name: 'shop', web_url: url, ...addresses, path_with_namespace: pathname.slice(1), url: ssh },
    commits: [{ id: after, message: 'change', url: `${url}/-/commit/${after}` }],
    total_commits_count: 1,
    repository: { name: 'shop', url: ssh, homepage: url, ...addresses },
  }
}

function gitlab(push: SamplePush): SampleDelivery {
  const event = push.ref?.startsWith('refs/tags/') ? 'Tag Push Hook' : 'Push Hook'
  return { headers: gitlabHeaders(event, push.secret), body: JSON.stringify(gitlabBody(push)) }
}

function gitlabSystem(push: SamplePush): SampleDelivery {
  return { headers: gitlabHeaders('System Hook', push.secret), body: JSON.stringify(gitlabBody(push)) }
}

function gitlabHeaders(event: string, token: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    'user-agent': 'GitLab/17.1.0-pre',
    'idempotency-key': randomUUID(),
    'x-gitlab-event': event,
    'x-gitlab-webhook-uuid': randomUUID(),
    'x-gitlab-event-uuid': randomUUID(),
    'x-gitlab-instance': 'https://gitlab.example.com',
    'x-gitlab-token': token,
  }
}

function gitea({ url, secret, ref = 'refs/heads/main', before = ZEROS, after }: SamplePush): SampleDelivery {
  const { hostname, pathname = '' } = URL.parse(url) ?? {}
  const body = JSON.stringify({
    ref,
    before,
    after,
    compare_url: `${url}/compare/x...y`,
    commits: [{ id: after, message: 'change', url: `${url}/commit/${after}` }],
    total_commits: 1,
    head_commit: { id: after },
    repository: {
      id: 140,
      name: 'shop',
      full_name: pathname.slice(1),
      html_url: url,
      url: `https://${hostname}/api/v1/repos${pathname}`,
      ssh_url: `ssh://git@${hostname}:2222${pathname}.git`,
      clone_url: `${url}.git`,
      default_branch: 'main',
    },
    pusher: { login: 'dev' },
    sender: { login: 'dev' },
  })
  return { headers: giteaHeaders('gitea', secret, body), body }
}

function forgejo(push: SamplePush): SampleDelivery {
  const { body } = gitea(push)
  return {
    headers: { ...giteaHeaders('gitea', push.secret, body), ...giteaHeaders('forgejo', push.secret, body) },
    body,
  }
}

function giteaHeaders(name: string, secret: string, body: string): Record<string, string> {
  const [id, signature] = [randomUUID(), hmac(secret, body)]
  return {
    'content-type': 'application/json',
    [`x-${name}-delivery`]: id,
    [`x-${name}-event`]: 'push',
    [`x-${name}-event-type`]: 'push',
    [`x-${name}-signature`]: signature,
    'x-gogs-delivery': id,
    'x-gogs-event': 'push',
    'x-gogs-signature': signature,
    'x-github-delivery': id,
    'x-github-event': 'push',
    'x-hub-signature': `sha1=${hmac(secret, body, 'sha1')}`,
    'x-hub-signature-256': `sha256=${signature}`,
  }
}

function bitbucketCloud({ url, secret, ref = 'refs/heads/main', before = ZEROS, after }: SamplePush): SampleDelivery {
  const fullName = URL.parse(url)?.pathname.slice(1) ?? ''
  const type = ref.startsWith('refs/tags/') ? 'tag' : 'branch'
  const name = ref.replace(/^refs\/(heads|tags)\//, '')
  const side = (hash: string) => (hash === ZEROS ? null : { type, name, target: { type: 'commit', hash } })
  const body = JSON.stringify({
    push: {
      changes: [{ old: side(before), new: side(after), created: false, closed: false, forced: false, commits: [] }],
    },
    repository: {
      type: 'repository',
      full_name: fullName,
      links: {
        self: { href: `https://api.bitbucket.org/2.0/repositories/${fullName}` },
        html: { href: url },
        avatar: { href: 'https://bytebucket.org/ravatar/x' },
      },
      name: 'shop',
      scm: 'git',
      project: { type: 'project', key: 'SHOP', name: 'shop' },
      is_private: true,
    },
    actor: { display_name: 'Dev', type: 'user' },
  })
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'Bitbucket-Webhooks/2.0',
    'x-event-key': 'repo:push',
    'x-hook-uuid': randomUUID(),
    'x-request-uuid': randomUUID(),
    'x-attempt-number': '1',
    'x-hub-signature': `sha256=${hmac(secret, body)}`,
  }
  return { headers, body }
}

function bitbucketServer({ url, secret, ref = 'refs/heads/main', before = ZEROS, after }: SamplePush): SampleDelivery {
  const [project = '', slug = ''] = URL.parse(url)?.pathname.split('/').slice(-2) ?? []
  const type = after === ZEROS ? 'DELETE' : 'UPDATE'
  const body = JSON.stringify({
    eventKey: 'repo:refs_changed',
    date: '2026-11-13T22:26:25+1100',
    actor: { name: 'dev', slug: 'dev', type: 'NORMAL' },
    repository: {
      slug,
      id: 84,
      name: slug,
      scmId: 'git',
      state: 'AVAILABLE',
      project: { key: project.toUpperCase(), id: 84, name: project, public: false, type: 'NORMAL' },
      public: false,
    },
    changes: [
      { ref: { id: ref, displayId: 'main', type: 'BRANCH' }, refId: ref, fromHash: before, toHash: after, type },
    ],
  })
  const headers = {
    'content-type': 'application/json; charset=utf-8',
    'user-agent': 'Atlassian HttpClient 1.0 / Bitbucket-8.9',
    'x-event-key': 'repo:refs_changed',
    'x-request-id': randomUUID(),
    'x-hub-signature': `sha256=${hmac(secret, body)}`,
  }
  return { headers, body }
}

/** A script with curl. */
function bearer({ url, secret, ref = 'refs/heads/main', after }: SamplePush): SampleDelivery {
  const body = JSON.stringify({ url: `${url}.git`, ref, commit: after })
  return { headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` }, body }
}

/** The signature of standardwebhooks.com. */
function standard({ url, secret, ref = 'refs/heads/main', after }: SamplePush): SampleDelivery {
  const body = JSON.stringify({ url, ref, after })
  const [id, time] = [`msg_${randomUUID()}`, String(Math.floor(Date.now() / 1_000))]
  const signature = createHmac('sha256', secret).update(`${id}.${time}.${body}`).digest('base64')
  const headers = {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': time,
    'webhook-signature': `v1,AAAA v1,${signature}`,
  }
  return { headers, body }
}
