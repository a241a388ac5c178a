// Which container is blamed, and what is left of what it wrote.
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { expect, test } from 'vitest'
import type { Kube, KubeRequest } from '../kube/kube.ts'
import { cleanLogLines, findBlamedContainer, readLogLines } from './pod-log.ts'

const pod = (status: object): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web-1', namespace: 'shop' },
  status,
})
const crashed = { terminated: { exitCode: 1, reason: 'Error' } }
const done = { terminated: { exitCode: 0, reason: 'Completed' } }
const looping = { name: 'app', ready: false, state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: crashed }

test.each([
  ['a container in a crash loop, its last run', { containerStatuses: [looping] }, { name: 'app', previous: true }],
  [
    'a container that has ended with an error',
    { containerStatuses: [{ name: 'app', state: crashed }] },
    { name: 'app', previous: false },
  ],
  [
    'an init container that crashes, before the containers that wait for it',
    {
      initContainerStatuses: [
        { name: 'ok', ready: true, state: done },
        { ...looping, name: 'migrate' },
      ],
      containerStatuses: [{ name: 'app', ready: false, state: { waiting: { reason: 'PodInitializing' } } }],
    },
    { name: 'migrate', previous: true },
  ],
  [
    'a container that runs and is not ready',
    {
      containerStatuses: [
        { name: 'side', ready: true, state: { running: {} } },
        { name: 'app', ready: false, state: { running: {} } },
      ],
    },
    { name: 'app', previous: false },
  ],
  [
    'nobody while an image cannot be pulled',
    { containerStatuses: [{ name: 'app', ready: false, state: { waiting: { reason: 'ImagePullBackOff' } } }] },
    undefined,
  ],
  ['nobody for nonsense', { containerStatuses: [7, { name: 3, state: 'x' }], initContainerStatuses: 'y' }, undefined],
])('blamed is %s', (_, status, blamed) => {
  expect(findBlamedContainer(pod(status))).toEqual(blamed)
})

test('lines are without colours, control and bidirectional characters, at most ten, at most 200 characters', () => {
  expect(cleanLogLines('\x1b[31merror:\x1b[0m no\x00 disk\r\n\r\n\tat x\n')).toEqual(['error: no disk', ' at x'])
  expect(cleanLogLines('a\u202eb\x1b]0;title\x07c\x9bd')).toEqual(['abcd'])
  expect(cleanLogLines(Array.from({ length: 50 }, (_, index) => `line ${index}`).join('\n'))).toEqual(
    Array.from({ length: 10 }, (_, index) => `line ${index + 40}`),
  )
  const [long = ''] = cleanLogLines('x'.repeat(5_000))
  expect(long).toHaveLength(200)
  expect(long.endsWith('…')).toBe(true)
  expect(cleanLogLines('')).toEqual([])
})

test('only the last lines of the blamed container are asked for, and a refusal gives none', async () => {
  const asked: KubeRequest[] = []
  const answering = (answer: () => Promise<{ status: number; body: unknown; headers: object }>) =>
    ({
      request: async (request: KubeRequest) => {
        asked.push(request)
        return await answer()
      },
    }) as Kube
  const { signal } = new AbortController()
  const read = async (answer: { status: number; body: unknown }, previous = true) =>
    await readLogLines(
      answering(async () => ({ ...answer, headers: {} })),
      pod({}),
      { name: 'app', previous },
      signal,
    )
  expect(await read({ status: 200, body: 'boot\nfatal: no config\n' })).toEqual(['boot', 'fatal: no config'])
  expect(asked[0]).toMatchObject({
    method: 'GET',
    path: '/api/v1/namespaces/shop/pods/web-1/log',
    query: { container: 'app', tailLines: 10, limitBytes: 16_384, previous: true },
  })
  await read({ status: 200, body: '' }, false)
  expect(asked[1]?.query).not.toHaveProperty('previous')
  expect(await read({ status: 403, body: { kind: 'Status' } })).toEqual([])
  const throwing = answering(() => Promise.reject(new Error('connection lost')))
  expect(await readLogLines(throwing, pod({}), { name: 'app', previous: false }, signal)).toEqual([])
})
