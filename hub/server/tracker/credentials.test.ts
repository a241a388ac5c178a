import { expect, test } from 'vitest'
import { readAuthorization } from './credentials.ts'

const sources = { folders: [], environment: { TOKEN: 'abc', PAIR: 'bot:x:y' } }
const decode = (header: string) => Buffer.from(header.replace(/^Basic /, ''), 'base64').toString()

test('a token and a pair give a header', async () => {
  expect(decode(await readAuthorization('env:TOKEN', sources))).toBe('x-access-token:abc')
  expect(decode(await readAuthorization('env:PAIR', sources))).toBe('bot:x:y')
})
