import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AppError, ERROR_CODES, isAborted, isErrorCode, toAppError } from './errors.ts'

const reference = readFileSync(join(import.meta.dirname, '../docs/reference/errors.md'), 'utf8')
/** Code, kind, summary and advice of each section. */
const sections = reference
  .split(/^### /m)
  .slice(1)
  .map((section) => /^(\w+)\n\n`(\w+)` · (.+)\n\n([^#]+)/.exec(section)?.slice(1) ?? [section])

describe('the list of error codes and docs/reference/errors.md', () => {
  test('name the same codes, each once', () => {
    const documented = sections.map(([code]) => code)
    expect([...documented].sort()).toEqual(Object.keys(ERROR_CODES).sort())
  })

  test.each(Object.entries(ERROR_CODES))('say the same of %s, and what to do about it', (code, { kind, summary }) => {
    const [, documentedKind, documentedSummary, advice] = sections.find(([name]) => name === code) ?? []
    expect([documentedKind, documentedSummary]).toEqual([kind, summary])
    expect(advice?.trim()).toMatch(/\.$/)
  })
})

describe('any thrown value', () => {
  test('becomes an AppError with a code of the list', () => {
    const known = new AppError('NotFound', 'm')
    expect(toAppError(known)).toBe(known)
    expect(toAppError(new TypeError('m'))).toMatchObject({ code: 'Internal', kind: 'bug', message: 'm' })
    expect(toAppError('text', 'Unavailable')).toMatchObject({ code: 'Unavailable', kind: 'transient', message: 'text' })
    expect(toAppError(AbortSignal.abort().reason)).toMatchObject({ code: 'Aborted' })
    expect(isErrorCode('NotFound')).toBe(true)
    expect(isErrorCode('toString')).toBe(false)
  })

  test('that only says that work was given up is told from real ones', () => {
    expect(isAborted(AbortSignal.abort().reason)).toBe(true)
    expect(isAborted(new AppError('Aborted', 'm'))).toBe(true)
    expect(isAborted(new Error('m'))).toBe(false)
  })
})
