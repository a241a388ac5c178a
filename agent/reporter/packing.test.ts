// Reports always fit into a message, and what is left out is said.
import { create } from '@bufbuild/protobuf'
import { SyncState } from '@fairlead/proto/common'
import { type ApplicationReport, ApplicationReportSchema } from '@fairlead/proto/report'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clip, packDeltas, planFull, sizeOf, trimReport } from './packing.ts'

function makeReport(application: string, problems: number, messageLength = 100): ApplicationReport {
  const problem = { code: 'ApplyInvalid', message: 'x'.repeat(messageLength) }
  const values = { application, sync: SyncState.OUT_OF_SYNC, problems: Array.from({ length: problems }, () => problem) }
  return create(ApplicationReportSchema, values as never)
}

const anyReports = fc
  .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,20}$/), fc.nat(200), fc.nat(2_000)), {
    selector: ([name]) => name,
    maxLength: 40,
  })
  .map((list) => list.map(([name, problems, length]) => makeReport(name, problems, length)))

test('every part fits, every application is told once and in order', () => {
  fc.assert(
    fc.property(anyReports, fc.integer({ min: 500, max: 20_000 }), (reports, limit) => {
      const parts = packDeltas(reports, limit)
      for (const { applications } of parts) {
        expect(applications.reduce((sum, one) => sum + sizeOf(one), 0)).toBeLessThanOrEqual(limit)
      }
      const told = parts.flatMap(({ applications }) => applications)
      expect(told.map(({ application }) => application)).toEqual(reports.map(({ application }) => application))
      const isWhole = told.every((one, index) => one === reports[index])
      expect(parts.some(({ truncated }) => truncated)).toBe(!isWhole)
    }),
    { numRuns: 50 },
  )
})

test('a full report fits, and with what follows it everything is told with its details', () => {
  fc.assert(
    fc.property(anyReports, fc.integer({ min: 500, max: 20_000 }), (reports, limit) => {
      const { full, rest } = planFull(reports, limit)
      expect(full.applications.reduce((sum, one) => sum + sizeOf(one), 0)).toBeLessThanOrEqual(limit)
      for (const report of reports)
        expect(full.applications.includes(report) || rest.includes(report) || isBare(report)).toBe(true)
      expect(full.truncated).toBe(full.applications.some((one) => !reports.includes(one)) || rest.length > 0)
    }),
    { numRuns: 50 },
  )
})

const isBare = ({ problems }: ApplicationReport): boolean => problems.length === 0

test('a report that is too large alone keeps its state and as many details as fit', () => {
  const large = makeReport('web', 500, 1_000)
  const trimmed = trimReport(large, 10_000)
  expect(sizeOf(trimmed)).toBeLessThanOrEqual(10_000)
  expect(trimmed.sync).toBe(SyncState.OUT_OF_SYNC)
  expect(trimmed.problems.length).toBeGreaterThan(5)
  expect(large.problems.length).toBe(500)
  expect(trimReport(large, 1_000_000)).toBe(large)
})

test('texts are cut at a character, never inside one', () => {
  expect(clip('short', 10)).toBe('short')
  expect(clip('0123456789', 5)).toBe('0123…')
  expect(clip('012😀456', 5)).toBe('012…')
})
