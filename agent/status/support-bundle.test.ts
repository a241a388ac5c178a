// A support bundle is an archive that tar reads, and holds no secret, wherever one was planted.
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AgentStatus } from './agent-status.ts'
import { formatStatus } from './format-status.ts'
import { LogBuffer } from './log-buffer.ts'
import { createRedactor } from './redact.ts'
import { createSupportBundle } from './support-bundle.ts'
import { createTar } from './tar.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'bundle-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pem = privateKey.export({ type: 'sec1', format: 'pem' }).toString()
const jwt = `eyJ${randomBytes(12).toString('base64url')}.${randomBytes(40).toString('base64url')}.${randomBytes(32).toString('base64url')}`
const planted = {
  joinToken: `flj_${randomBytes(24).toString('base64url')}`,
  pem,
  pemInOneLine: pem.replaceAll('\n', '\\n'),
  jwt,
  seed: `SUA${'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.repeat(2).slice(0, 55)}`,
  ageKey: `AGE-SECRET-KEY-1${'QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L'.repeat(2).slice(0, 58)}`,
  encoded: Buffer.from('a database password that is long enough').toString('base64'),
  url: 'https://user:hunter2-hunter2@git.example.com/shop.git',
  github: `ghp_${'a1B2'.repeat(9)}`,
}
const quoted = {
  invalid: 'ConfigMap "web" is invalid: data.password: Invalid value: "correct-horse": must be something else',
  webhook: 'admission webhook "policy.example.com" denied the request: password correct-horse is weak',
  typed: '.spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:"correct-horse"}',
}

const status: AgentStatus = {
  version: '0.1.0',
  pod: 'fairlead-agent-7c9f8d-x2x4k',
  namespace: 'fairlead-system',
  startedAt: '2026-01-01T00:00:00.000Z',
  role: 'leader',
  leader: 'fairlead-agent-7c9f8d-x2x4k_abc',
  cluster: 'prod-eu-1',
  joined: true,
  ready: true,
  natsConnected: false,
  apiServer: 'away since 2026-01-01T00:59:00.000Z',
  kubernetesVersion: 'v1.36.3',
  slice: { generation: '1767225600000', issuedAt: '2026-01-01T00:10:00.000Z', ageSeconds: 3_000 },
  policy: { namespaces: ['shop', 'web'], state: 'unknown', message: '', allowed: null },
  stuck: [],
  problems: [{ code: 'Unavailable', message: `the hub answers ${planted.jwt}`, object: '', source: '' }],
  applications: [
    {
      name: 'web',
      revision: 'main@sha1:0123456789ab',
      sync: 'OutOfSync',
      health: 'Degraded',
      since: '2026-01-01T00:30:00.000Z',
      objects: 4,
      drifted: 1,
      suspended: false,
      repairs: 7,
      problems: Object.values({ ...quoted, ...planted }).map((message) => ({
        code: 'ApplyInvalid',
        message,
        object: 'ConfigMap web/config',
        source: 'deploy/web.yaml:3',
      })),
      drifts: [
        {
          object: 'Deployment web/api',
          kind: 'changed',
          manager: 'kubectl-edit',
          fields: ['spec.replicas'],
          detectedAt: '2026-01-01T00:50:00.000Z',
          repairedAt: null,
        },
      ],
    },
  ],
  watches: [
    { kind: 'apps/v1 Deployment', state: 'live', message: '' },
    { kind: 'v1 Secret', state: 'forbidden', message: 'secrets is forbidden' },
  ],
}

async function unpack(bundle: Buffer): Promise<Map<string, string>> {
  const into = mkdtempSync(path.join(folder, 'x-'))
  writeFileSync(path.join(into, 'b.tar.gz'), bundle)
  execFileSync('tar', ['-xzf', 'b.tar.gz'], { cwd: into })
  const [root = ''] = readdirSync(into).filter((name) => name !== 'b.tar.gz')
  const names = readdirSync(path.join(into, root))
  return new Map(names.map((name) => [name, readFileSync(path.join(into, root, name), 'utf8')]))
}

describe('the bundle', () => {
  test('holds none of the secrets that were planted in status, settings, log and metrics, and what helps is there', async () => {
    const bundle = await createSupportBundle(
      {
        status,
        settings: { hubAddress: 'hub.example.com:7443', extra: planted, joinToken: 'set' },
        logLines: [
          ...Object.values({ ...planted, ...quoted }).map((text) =>
            JSON.stringify({ level: 'warn', error: { message: text } }),
          ),
          `not json ${planted.joinToken}`,
          JSON.stringify({ level: 'info', msg: 'obeying a new slice', generation: '1767225600000' }),
        ],
        metrics: '# HELP a A.\n# TYPE a gauge\na 1\n',
        objects: [
          {
            application: 'web',
            group: 'apps',
            kind: 'Deployment',
            namespace: 'web',
            name: 'api',
            uid: '0f0e0d0c-0b0a-4908-8706-050403020100',
            declaredHash: 'a'.repeat(64),
            entryHash: 'b'.repeat(64),
          },
        ],
        secrets: [planted.joinToken],
      },
      new Date('2026-01-01T01:00:00Z'),
    )
    const files = await unpack(bundle)
    expect([...files.keys()].toSorted()).toEqual([
      'README.txt',
      'inventories.jsonl',
      'log.jsonl',
      'metrics.txt',
      'settings.json',
      'status.json',
      'versions.json',
    ])
    const text = [...files.values()].join('\n')
    const pemBody = pem.split('\n')[1] ?? ''
    for (const secret of [...Object.values(planted), pemBody, 'correct-horse', 'hunter2']) {
      expect(text, secret).not.toContain(secret)
      expect(text, secret).not.toContain(JSON.stringify(secret).slice(1, -1))
    }
    expect(text).toContain('obeying a new slice')
    expect(text).toContain('data.password: Invalid value: <left out>')
    expect(text).toContain('hub.example.com:7443')
    expect(text).toContain('a'.repeat(64))
    expect(text).toContain('fairlead-agent-7c9f8d-x2x4k')
    for (const line of (files.get('log.jsonl') ?? '').trimEnd().split('\n'))
      expect(() => JSON.parse(line)).not.toThrow()
  })

  test('digests, names and versions are not taken for secrets', () => {
    const redact = createRedactor([undefined, ''])
    for (const harmless of [
      '0123456789abcdef'.repeat(4),
      'customresourcedefinitions.apiextensions.k8s.io',
      'a-rather-long-name-of-an-application-in-production-eu-1',
      'fairlead-agent-5d4b8c9f7c-x2x4k',
      'configmaps "web" is forbidden: User "system:serviceaccount:fairlead-system:fairlead-agent" cannot list resource',
      '1767225600000',
      'https://hub.example.com:7443/path',
    ]) {
      expect(redact(harmless)).toBe(harmless)
    }
  })

  test('a secret that is known is taken out of whatever it stands in', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (before, after) => {
        const secret = 'known secret'
        const text = JSON.stringify(createRedactor([secret])({ [before]: `${before}${secret}${after}` }))
        expect(text).not.toContain(secret)
      }),
    )
  })
})

test('an archive of any files is what tar unpacks', { timeout: 60_000 }, () => {
  const content = fc.sample(fc.string({ unit: 'binary', maxLength: 3_000 }), 20)
  const archive = createTar(
    content.map((text, index) => ({ name: `f-${index}`, content: text })),
    new Date(),
  )
  const into = mkdtempSync(path.join(folder, 't-'))
  writeFileSync(path.join(into, 'a.tar'), archive)
  execFileSync('tar', ['-xf', 'a.tar'], { cwd: into })
  content.forEach((text, index) => {
    expect(readFileSync(path.join(into, `f-${index}`))).toEqual(Buffer.from(text))
  })
})

test('the status in words says what matters, and what others wrote does not steer the terminal', () => {
  const hostile = { ...status, problems: [{ code: 'Unavailable', message: 'a\u001b[2Jb\nc', object: '', source: '' }] }
  const lines = formatStatus(hostile, new Date('2026-01-01T01:00:00Z'))
  const text = lines.join('\n')
  for (const words of [
    'leader, ready',
    'cluster:     prod-eu-1',
    'NATS not connected; API server away since',
    'generation 1767225600000, signed 50m ago',
    'namespaces shop, web',
    '1 of 2 kinds live',
    'watch of v1 Secret is forbidden: secrets is forbidden',
    'ApplyInvalid ConfigMap web/config (deploy/web.yaml:3)',
    '10m ago   web   Deployment web/api   changed by kubectl-edit: spec.replicas (left)',
  ]) {
    expect(text).toContain(words)
  }
  expect(text).toMatch(/^web +main@sha1:0123456789ab +OutOfSync +Degraded +4 +1 left, 7 put back +30m$/m)
  expect(text).not.toContain('\u001b')
  const standby = formatStatus({ ...status, role: 'standby', applications: [] }, new Date())
  expect(standby.join('\n')).toContain('The leader has the applications.')
})

test('the log keeps the last lines and no more than it may', () => {
  const log = new LogBuffer(1_000)
  for (let index = 0; index < 1_000; index++) log.push(`line ${index}\n`)
  expect(log.lines.at(-1)).toBe('line 999')
  expect(log.lines.join('').length).toBeLessThanOrEqual(1_000)
  log.push('x'.repeat(5_000))
  expect(log.lines).toHaveLength(1)
})
