import { styleText } from 'node:util'
import { describe, expect, test } from 'vitest'
import { formatTable } from './table.ts'

describe('a table', () => {
  test('aligns its columns and leaves no spaces at the end of a line', () => {
    const lines = formatTable({
      columns: ['NAME', 'STATE'],
      rows: [
        ['a', 'Synced'],
        ['longer', ''],
      ],
    })
    expect(lines).toEqual(['NAME     STATE', 'a        Synced', 'longer'])
  })

  test('is aligned by what is seen, not by the colours', () => {
    const green = styleText('green', 'ok', { validateStream: false })
    const [, row] = formatTable({ columns: ['STATE', 'AGE'], rows: [[green, '3m']] })
    expect(row).toBe(`${green}      3m`)
  })

  test('may have as many rows as a fleet has deployments', () => {
    const rows = Array.from({ length: 200_000 }, () => ['a'])
    expect(formatTable({ columns: ['NAME'], rows })).toHaveLength(200_001)
  })

  test('without rows is its headings', () => {
    expect(formatTable({ columns: ['NAME'], rows: [] })).toEqual(['NAME'])
  })
})
