import { expect, test } from 'vitest'
import { addressKey } from '../repository-address.ts'
import { githubPing, HOSTS, type SampleDelivery } from './deliveries.test-support.ts'
import { HookIndex } from './hook-index.ts'
import { readDelivery } from './payload.ts'
import { isFromHolder } from './signature.ts'

const [before, after, zeros] = ['a'.repeat(40), 'b'.repeat(40), '0'.repeat(40)]
const url = 'https://git.example.com/scm/Acme/shop'
const push = { url, secret: 'a good secret', before, after }
const hosts = Object.entries(HOSTS)

function raw({ headers, body }: SampleDelivery) {
  return { headers, body: Buffer.from(body) }
}

test.each(hosts)('a push of %s names repository, ref and commit', (_, host) => {
  const delivery = readDelivery(raw(host(push)))
  expect(delivery).toMatchObject({ isPush: true, pushed: [{ name: 'refs/heads/main', oid: after }] })
  const repository = { name: 'shop', url: `${url}.git`, secretFrom: 'env:X' }
  const other = { name: 'other', url: 'https://git.example.com/scm/acme/shop2', secretFrom: 'env:X' }
  const index = new HookIndex([repository, other])
  expect(delivery && index.findByDelivery(delivery)).toEqual([repository])
})

test.each(hosts.filter(([name]) => !['bearer', 'standard'].includes(name)))('tags and deletions of %s', (_, host) => {
  expect(readDelivery(raw(host({ ...push, ref: 'refs/tags/v1' })))?.pushed).toEqual([
    { name: 'refs/tags/v1', oid: after },
  ])
  expect(readDelivery(raw(host({ ...push, after: zeros })))).toMatchObject({
    isPush: true,
    pushed: [{ name: 'refs/heads/main', oid: undefined }],
  })
})

test.each(hosts)(
  'a delivery of %s is believed with its secret, and not with another or after a change',
  (name, host) => {
    const delivery = raw(host(push))
    const nowMs = Date.now()
    expect(isFromHolder(push.secret, delivery, nowMs)).toBe(true)
    expect(isFromHolder(`${push.secret}x`, delivery, nowMs)).toBe(false)
    expect(isFromHolder('', delivery, nowMs)).toBe(false)
    const changed = { ...delivery, body: Buffer.concat([delivery.body, Buffer.from(' ')]) }
    // GitLab and curl send the secret itself, which says nothing of the body.
    expect(isFromHolder(push.secret, changed, nowMs)).toBe(['gitlab', 'gitlabSystem', 'bearer'].includes(name))
  },
)

test('a signature by SHA-1, an empty token and an old time are not believed', () => {
  const { headers, body } = HOSTS.github(push)
  const { 'x-hub-signature-256': _, ...weak } = headers
  expect(isFromHolder(push.secret, raw({ headers: weak, body }), Date.now())).toBe(false)
  expect(isFromHolder(push.secret, raw({ headers: { 'x-gitlab-token': '' }, body }), Date.now())).toBe(false)
  const standard = raw(HOSTS.standard(push))
  expect(isFromHolder(push.secret, standard, Date.now() + 310_000)).toBe(false)
  expect(isFromHolder(push.secret, standard, Date.now() - 310_000)).toBe(false)
})

test('what moves no ref is no push', () => {
  expect(readDelivery(raw(githubPing(push)))?.isPush).toBe(false)
  for (const [header, event] of [
    ['x-github-event', 'issue_comment'],
    ['x-gitlab-event', 'Issue Hook'],
    ['x-event-key', 'diagnostics:ping'],
  ] as const) {
    expect(readDelivery(raw({ headers: { [header]: event }, body: '{}' }))?.isPush, event).toBe(false)
  }
})

test.each([
  '[]',
  '"x"',
  'null',
  '',
  '{"repository":[1],"push":{"changes":{"new":1}},"changes":[null,1,{"refId":5}],"ref":{},"after":[]}',
  '{"ref":"refs/heads/a b","after":"zz"}',
  `{"ref":"refs/heads/${'x'.repeat(3_000)}","after":"${after}","url":"${'x'.repeat(3_000)}"}`,
  '{"__proto__":{"ref":"refs/heads/main"},"url":"::::"}',
])('odd bodies mean nothing: %.60s', (body) => {
  expect(readDelivery(raw({ headers: {}, body }))).toMatchObject({ addresses: [], pathEnd: '', pushed: [] })
})

test('what is no JSON is told apart', () => {
  expect(readDelivery(raw({ headers: {}, body: '<html>' }))).toBeUndefined()
})

test('addresses of one repository are equal however it is reached', () => {
  const same = [
    'https://Git.example.com/Acme/Shop.git',
    'http://git.example.com:8080/acme/shop/',
    'ssh://git@git.example.com:7999/acme/shop.git',
    'git@git.example.com:acme/shop.git',
    'https://user@git.example.com//acme/shop',
  ]
  expect(new Set(same.map(addressKey))).toEqual(new Set(['git.example.com/acme/shop']))
  for (const other of ['https://git.example.com', 'git@git.example.com:', 'x', '', 'file:///etc/passwd', 'C:\\repo']) {
    expect(addressKey(other), other).not.toBe('git.example.com/acme/shop')
  }
  expect(addressKey('https://git.example.com/acme/shop2')).not.toBe('git.example.com/acme/shop')
})
