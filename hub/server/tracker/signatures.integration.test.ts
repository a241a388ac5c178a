// Commits and tags signed by real git, ssh-keygen and gpg, and followed by a real tracker.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { create, fromJsonString, type MessageInitShape, toJsonString } from '@bufbuild/protobuf'
import { type GitRepository, type GitServer, runGit, startGitServer } from '@fairlead/e2e/harness/git-server'
import { makeGpgKey, makeSshKey, type SigningKey } from '@fairlead/e2e/harness/git-signing'
import { makeRunFolder } from '@fairlead/e2e/harness/guardian'
import { waitFor } from '@fairlead/e2e/harness/wait'
import { type Problem, ProblemSchema } from '@fairlead/proto/common'
import {
  ApplicationSpecSchema,
  RepositorySpecSchema,
  type RepositoryVerificationSchema,
} from '@fairlead/proto/definitions'
import { silentLogger } from '@fairlead/shared/logger'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openStore, type Store } from '../store/store.ts'
import { createTracker, type Tracker } from './tracker.ts'

type Verify = MessageInitShape<typeof RepositoryVerificationSchema>

let git: GitServer
let store: Store
let tracker: Tracker
let repository: GitRepository

beforeEach(async () => {
  git = await startGitServer()
  store = await openStore(':memory:', { logger: silentLogger })
  tracker = createTracker({
    store,
    gitDir: path.join(makeRunFolder('signed'), 'git'),
    onChange: () => undefined,
    logger: silentLogger,
  })
  repository = git.createRepository('shop')
})
afterEach(async () => {
  await tracker.stop()
  await store.close()
  await git.stop()
})

async function define(verify: Verify | undefined): Promise<void> {
  const spec = create(RepositorySpecSchema, {
    url: repository.url,
    pollInterval: { seconds: 3600n },
    ...(verify && { verify }),
  })
  const row = { spec: toJsonString(RepositorySpecSchema, spec) }
  await store.db
    .insertInto('repositories')
    .values({ name: 'shop', uid: 'x', generation: 1, labels: '{}', created_at: 0, ...row })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(row))
    .execute()
  tracker.refresh()
}

async function follow(...refs: readonly string[]): Promise<void> {
  for (const ref of refs) {
    const spec = toJsonString(
      ApplicationSpecSchema,
      create(ApplicationSpecSchema, { source: { repository: 'shop', ref } }),
    )
    const row = {
      name: `app-${ref.replace(/\W/g, '-')}`,
      uid: 'x',
      generation: 1,
      labels: '{}',
      created_at: 0,
      spec,
      deleting: null,
    }
    await store.db.insertInto('applications').values(row).execute()
  }
}

async function stateOf(ref: string): Promise<{ commit: string | undefined; problem: Problem | undefined }> {
  const row = await store.db.selectFrom('refs').selectAll().where('ref', '=', ref).executeTakeFirst()
  return { commit: row?.commit, problem: row?.problem ? fromJsonString(ProblemSchema, row.problem) : undefined }
}

const taken = (commit: string, ref = 'main') =>
  waitFor(`${ref} to be taken at ${commit}`, async () => {
    const { commit: now, problem } = await stateOf(ref)
    return now === commit && problem === undefined
  })
const refused = (words: string, ref = 'main') =>
  waitFor(`${ref} to be refused: ${words}`, async (see) => {
    const { problem } = await stateOf(ref)
    see(problem?.message)
    return problem?.code === 'SignatureRejected' && problem.message.includes(words)
  })

function writeTemporary(content: string): string {
  const file = path.join(makeRunFolder('object'), 'object')
  writeFileSync(file, content)
  return file
}

/** Commits, signed by a key or not at all, and pushes. */
function commit(key: SigningKey | undefined, message = 'change', { push = true } = {}): string {
  repository.git(...(key?.gitOptions ?? []), 'commit', '-q', '--allow-empty', ...(key ? ['-S'] : []), '-m', message)
  if (push) repository.git('push', '-qf', 'origin', 'HEAD:main')
  return repository.git('rev-parse', 'HEAD')
}

function tag(name: string, key: SigningKey): void {
  repository.git(...key.gitOptions, 'tag', '-s', '-m', 'release', name)
  repository.git('push', '-q', 'origin', name)
}

test.each([
  ['ssh-ed25519', () => makeSshKey('dev')],
  ['ssh-rsa', () => makeSshKey('dev', { type: 'rsa', bits: '3072' })],
  ['ecdsa-sha2-nistp256', () => makeSshKey('dev', { type: 'ecdsa', bits: '256' })],
  ['ecdsa-sha2-nistp384', () => makeSshKey('dev', { type: 'ecdsa', bits: '384' })],
  ['ecdsa-sha2-nistp521', () => makeSshKey('dev', { type: 'ecdsa', bits: '521' })],
  ['gpg ed25519', () => makeGpgKey('dev')],
  ['gpg rsa3072', () => makeGpgKey('dev', 'rsa3072')],
])(
  'by a key of type %s, what it signed is taken and everything else is refused while the last good commit stays',
  async (type, make) => {
    const key = make()
    const verify = type.startsWith('gpg')
      ? { gpgKeys: key.publicKey }
      : { allowedSigners: `dev@example.com ${key.publicKey}` }
    await follow('main', 'v1')
    const good = commit(key)
    tracker.start()
    await define(verify)
    await taken(good)
    commit(undefined, 'not signed')
    tracker.refresh('shop')
    await refused('is not signed')
    commit(makeSshKey('mallory'), 'signed by somebody else')
    tracker.refresh('shop')
    await refused('none of the allowed signers')
    tag('v1', key)
    tracker.refresh('shop')
    await taken(repository.git('rev-parse', 'v1^{commit}'), 'v1')
    expect((await stateOf('main')).commit).toBe(good)
    await taken(commitAgain(key))
  },
  60_000,
)

function commitAgain(key: SigningKey): string {
  const oid = commit(key, 'signed again\n\nof several lines, with ümläuts\n\n-----BEGIN PGP SIGNATURE-----\nnot one')
  tracker.refresh('shop')
  return oid
}

test('a commit whose content was changed after it was signed is refused, and a signature that is moved to another', async () => {
  const key = makeSshKey('dev')
  await follow('main')
  const good = commit(key)
  tracker.start()
  await define({ allowedSigners: `dev ${key.publicKey}` })
  await taken(good)
  const raw = runGit(repository.workTree, ['cat-file', 'commit', good])
  for (const forged of [`${raw}!`, raw.replace(/^author .*$/m, 'author Mallory <m@example.com> 1 +0000')]) {
    const oid = runGit(repository.workTree, [
      'hash-object',
      '-t',
      'commit',
      '-w',
      '--literally',
      writeTemporary(`${forged}\n`),
    ])
    repository.git('push', '-qf', 'origin', `${oid}:refs/heads/main`)
    tracker.refresh('shop')
    await refused('does not hold')
    await waitFor('the forged commit to be named', async () =>
      (await stateOf('main')).problem?.message.includes(oid.slice(0, 12)),
    )
  }
  expect((await stateOf('main')).commit).toBe(good)
})

test('a commit or tag too large to be looked at is refused, and holds up no other', async () => {
  const key = makeSshKey('dev')
  await follow('main', 'large', 'v1')
  // Git would not take so long a message as an argument.
  const message = writeTemporary('\n'.repeat(2 * 1024 * 1024).concat('end'))
  const tail = ['--cleanup=verbatim', '-F', message]
  repository.git(...key.gitOptions, 'commit', '-q', '--allow-empty', '-S', ...tail)
  repository.git('push', '-q', 'origin', 'HEAD:large')
  repository.git(...key.gitOptions, 'tag', '-s', ...tail, 'v1')
  repository.git('push', '-q', 'origin', 'v1')
  const good = commit(key)
  tracker.start()
  await define({ allowedSigners: `dev ${key.publicKey}` })
  await taken(good)
  await refused('is too large', 'large')
  await refused('is too large', 'v1')
})

test('a signed tag counts under its own name only, and a signed commit under any tag', async () => {
  const key = makeSshKey('dev')
  await follow('v1', 'v2', 'semver:^3')
  const old = commit(undefined, 'not signed')
  tag('v1', key)
  commit(undefined, 'not signed either')
  repository.git('push', '-q', 'origin', 'v1:refs/tags/v2')
  tag('v3.1.0', key)
  const newest = repository.git('rev-parse', 'HEAD')
  tracker.start()
  await define({ allowedSigners: `dev ${key.publicKey}` })
  await taken(old, 'v1')
  await taken(newest, 'semver:^3')
  await refused('its tag was signed as v1, not as v2', 'v2')
  const signed = commit(key)
  repository.git('tag', '-f', 'v2')
  repository.git('push', '-qf', 'origin', 'v2')
  tracker.refresh('shop')
  await taken(signed, 'v2')
})

test('keys count within their time and for Git only; keys that are added and taken away count from the next poll', async () => {
  const key = makeSshKey('dev')
  await follow('main')
  const first = commit(key)
  tracker.start()
  await define({ allowedSigners: `dev valid-before="20200101" ${key.publicKey}` })
  await refused('outside of the time')
  await define({ allowedSigners: `dev namespaces="file" ${key.publicKey}` })
  await refused('none of the allowed signers')
  await define({ allowedSigners: `dev valid-after="20200101Z",namespaces="git,file" ${key.publicKey}` })
  await taken(first)
  await define({ allowedSigners: `other ${makeSshKey('other').publicKey}` })
  await refused('none of the allowed signers')
  expect((await stateOf('main')).commit).toBe(first)
  await define({ gpgKeysFrom: 'file:/nowhere' })
  await waitFor('the missing file', async () => {
    const row = await store.db.selectFrom('repository_state').select('problem').executeTakeFirst()
    return row?.problem?.includes('SignatureRejected') === true && row.problem.includes('file:/nowhere')
  })
  await define(undefined)
  await taken(first)
})
