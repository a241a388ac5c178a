import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readSecret, readSecretText } from './secret-source.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'fairlead-credentials-'))
afterAll(() => rmSync(folder, { recursive: true }))
const allowed = path.join(folder, 'allowed')
mkdirSync(allowed)

function file(name: string, content: string): string {
  const full = path.join(folder, name)
  writeFileSync(full, content)
  return `file:${full}`
}

const sources = { folders: [allowed, path.join(folder, 'missing')], environment: { TOKEN: 'abc', PAIR: 'bot:x:y' } }

test('variables and files are read anew each time', async () => {
  expect(await readSecret('env:TOKEN', sources)).toBe('abc')
  expect(await readSecret('env:PAIR', sources)).toBe('bot:x:y')
  const from = file('allowed/token', 'one\n')
  expect(await readSecret(from, sources)).toBe('one')
  file('allowed/token', 'two')
  expect(await readSecret(from, sources)).toBe('two')
})

test('a key of several lines is read as it is, and is no secret of one line', async () => {
  const from = file('allowed/key', '-----BEGIN X-----\nabc\n')
  expect(await readSecretText(from, sources)).toBe('-----BEGIN X-----\nabc\n')
  await expect(readSecret(from, sources)).rejects.toThrow('more than one line')
})

test('a mounted Secret, which is a link to a link within the folder, is read', async () => {
  mkdirSync(path.join(allowed, '..data'))
  file('allowed/..data/token', 'mounted')
  symlinkSync('..data/token', path.join(allowed, 'mounted'))
  expect(await readSecret(`file:${allowed}/mounted`, sources)).toBe('mounted')
})

test('what is outside of the folders, missing, empty or odd is refused without a word of the content', async () => {
  symlinkSync(path.join(folder, 'outside'), path.join(allowed, 'link'))
  mkdirSync(path.join(folder, 'allowed-too'))
  const cases = [
    file('outside', 'hunter2'),
    file('allowed-too/token', 'hunter2'),
    `file:${allowed}/link`,
    `file:${allowed}/../outside`,
    `file:${allowed}`,
    `file:${allowed}/nowhere`,
    file('allowed/empty', '\n'),
    file('allowed/lines', 'hunter2\r\nX-Evil: 1'),
    file('allowed/large', 'hunter2'.repeat(20_000)),
    'env:MISSING',
    'env:__proto__',
    'vault:hunter2',
    'secret:fairlead/shop#token',
  ]
  for (const from of cases) {
    const error = await readSecret(from, sources).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'RepositoryAuthFailed' })
    if (!from.startsWith('vault')) expect(String(error)).not.toContain('hunter2')
  }
})
