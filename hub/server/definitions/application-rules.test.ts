// What is refused of an Application's sync options, by table.
import { create } from '@bufbuild/protobuf'
import { ApplicationSpecSchema, type SyncOptions } from '@fairlead/proto/definitions'
import { expect, test } from 'vitest'
import { findApplicationProblems } from './application-rules.ts'

const problemsOf = (sync: Partial<Omit<SyncOptions, '$typeName' | '$unknown'>>) =>
  findApplicationProblems(
    create(ApplicationSpecSchema, { source: { repository: 'shop' }, placement: { clusters: {} }, sync }),
    () => true,
  )

test.each([{}, { validate: '' }, { validate: 'server' }])('%j is fine', (sync) => {
  expect(problemsOf(sync)).toEqual([])
})

test.each(['Server', 'client', 'true', 'strict'])(
  'sync.validate: %s, which would check nothing, is refused',
  (validate) => {
    expect(problemsOf({ validate })).toEqual([
      {
        field: 'spec.sync.validate',
        message: `"${validate}" is not "server"; leave it out to check nothing beforehand`,
      },
    ])
  },
)
