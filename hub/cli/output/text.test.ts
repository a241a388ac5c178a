import { create } from '@bufbuild/protobuf'
import { ConnectionState, HealthState, ProblemSchema, RevisionSchema, SyncState } from '@fairlead/proto/common'
import { describe, expect, test } from 'vitest'
import { connectionWord, formatAge, formatProblem, formatRevision, healthWord, plain, syncWord } from './text.ts'

describe('words for people', () => {
  test.each([
    [-5_000, '0s'],
    [999, '0s'],
    [59_999, '59s'],
    [60_000, '1m'],
    [3_599_999, '59m'],
    [3_600_000, '1h'],
    [86_400_000 * 3, '3d'],
  ])('an age of %i ms is %s', (ageMs, text) => expect(formatAge(ageMs)).toBe(text))

  test('states are the words of the documentation', () => {
    expect(syncWord(SyncState.OUT_OF_SYNC)).toBe('OutOfSync')
    expect(syncWord(SyncState.UNSPECIFIED)).toBe('Unknown')
    expect(healthWord(HealthState.PROGRESSING)).toBe('Progressing')
    expect(connectionWord(ConnectionState.STALE)).toBe('Stale')
    expect(healthWord(99 as HealthState)).toBe('Unknown')
  })

  test('a revision names its ref and the start of its commit', () => {
    const commit = '1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d'
    const revision = create(RevisionSchema, { ref: 'main', commit })
    expect(formatRevision(revision)).toBe('main@sha1:1a2b3c4d')
    expect(formatRevision(revision, { whole: true })).toBe(`main@sha1:${commit}`)
    expect(formatRevision(create(RevisionSchema, { ref: commit, commit }))).toBe('sha1:1a2b3c4d')
    expect(formatRevision(undefined)).toBe('-')
  })

  test('a problem names object, file, line, reason and age on one line', () => {
    const problem = create(ProblemSchema, {
      code: 'ApplyInvalid',
      message: 'spec.replicas:\nmust be a number',
      object: { group: 'apps', kind: 'Deployment', namespace: 'shop', name: 'web' },
      source: { file: 'web.yaml', line: 12 },
      since: { seconds: 100n },
    })
    expect(formatProblem(problem, 280_000)).toBe(
      'Deployment.apps shop/web (web.yaml:12): ApplyInvalid: spec.replicas: must be a number [3m]',
    )
  })

  test('text from a cluster cannot steer the terminal', () => {
    expect(plain('a\u001b[2Jb\r\nc\u202ed')).toBe('a [2Jb c d')
  })
})
