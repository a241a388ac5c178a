import { expect, test } from 'vitest'
import { parseAllowedSigners } from './allowed-signers.ts'

const key = `AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`
const ed25519 = `ssh-ed25519 ${key}`

test('principals, options, comments and empty lines are read', () => {
  const text = `# a comment

dev@example.com,*@example.org ${ed25519} a comment with "quotes"
"two words" namespaces="file,git",valid-after="20260101",valid-before="20260201123000Z" ${ed25519}
sk no-touch-required ${ed25519}
`
  expect(parseAllowedSigners(text)).toEqual([
    { principals: 'dev@example.com,*@example.org', key, noTouchRequired: false },
    {
      principals: 'two words',
      key,
      validAfterS: Date.UTC(2026, 0, 1) / 1_000,
      validBeforeS: Date.UTC(2026, 1, 1, 12, 30) / 1_000,
      noTouchRequired: false,
    },
    { principals: 'sk', key, noTouchRequired: true },
  ])
})

test('keys of other namespaces do not count for Git', () => {
  expect(parseAllowedSigners(`dev namespaces="file" ${ed25519}`)).toEqual([])
})

test.each([
  [ed25519, 'line 1: write <principals>'],
  ['dev', 'line 1: write <principals>'],
  [`# first\ndev cert-authority ${ed25519}`, 'line 2: the option cert-authority is not supported'],
  [`dev valid-before="soon" ${ed25519}`, 'line 1: valid-before is no time'],
  [`dev ,,, ${ed25519}`, 'line 1: the options cannot be read'],
  ['dev ssh-ed25519 AAAA', 'line 1: the key is not one of type ssh-ed25519'],
  [`dev ssh-rsa ${key}`, 'line 1: the key is not one of type ssh-rsa'],
  ['dev ssh-dss AAAAB3NzaC1kc3M=', 'line 1: write <principals>'],
  ['-----BEGIN OPENSSH PRIVATE KEY-----', 'line 1: write <principals>'],
])('what is not understood is refused, for it might forbid something: %.40s', (text, message) => {
  expect(() => parseAllowedSigners(text)).toThrow(message)
})
