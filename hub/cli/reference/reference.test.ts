import { glob, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { DescMessage } from '@bufbuild/protobuf'
import { ApplicationSchema, RepositorySchema } from '@fairlead/proto/definitions'
import { AppError, ERROR_CODES, type ErrorCode } from '@fairlead/shared/errors'
import { describe, expect, test } from 'vitest'
import { EXIT_CODES, exitCodeOf } from '../exit-codes.ts'
import { renderPages } from './reference.ts'

const root = path.join(import.meta.dirname, '..', '..', '..')
const readPage = (name: string): Promise<string> => readFile(path.join(root, 'docs', 'reference', name), 'utf8')

describe('docs/reference', () => {
  test('is what the commands and the proto files say (else run: node hub/cli/reference/write.ts)', async () => {
    for (const [file, text] of await renderPages()) expect(await readFile(file, 'utf8'), file).toBe(text)
  })

  test('lists exactly the exit codes that the program has, and no failure has another', async () => {
    const table = (await readPage('cli.md')).split('## Exit codes')[1]?.split('\n## ')[0] ?? ''
    const listed = [...table.matchAll(/^\| (\d+) \| (.+) \|$/gm)].map(([, code, meaning]) => [Number(code), meaning])
    expect(listed).toEqual(Object.values(EXIT_CODES).map(({ code, meaning }) => [code, meaning]))
    const known = new Set<number>(Object.values(EXIT_CODES).map(({ code }) => code))
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[])
      expect(known).toContain(exitCodeOf(new AppError(code, '')))
  })

  test('names every field of Repository and Application', async () => {
    const page = await readPage('definitions.md')
    for (const schema of [RepositorySchema, ApplicationSchema]) {
      for (const field of fieldsOf(schema))
        expect(page).toMatch(new RegExp(`\\| \`[\\w.[\\]]*\\b${field}(\\[\\])?\` \\|`))
    }
  })
})

function fieldsOf(message: DescMessage): string[] {
  return message.fields.flatMap((field) => {
    const inner = field.fieldKind === 'message' || field.fieldKind === 'list' ? field.message : undefined
    return [field.jsonName, ...(inner && !inner.typeName.startsWith('google.') ? fieldsOf(inner) : [])]
  })
}

describe('standard output', () => {
  test('is written to only by output/', async () => {
    const cli = path.join(root, 'hub', 'cli')
    const offenders: string[] = []
    for await (const file of glob('**/*.ts', { cwd: cli, exclude: ['node_modules/**', 'dist/**', '**/*.test.ts'] })) {
      if (file.startsWith('output/')) continue
      const source = await readFile(path.join(cli, file), 'utf8')
      if (/console\.(log|info|table)|(stdout|stderr)\.write\(/.test(source)) offenders.push(file)
    }
    expect(offenders).toEqual([])
  })
})
