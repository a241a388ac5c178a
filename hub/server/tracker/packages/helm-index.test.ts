import { expect, test } from 'vitest'
import { parseHelmIndex } from './helm-index.ts'

const hex = 'b'.repeat(64)
const parse = (text: string, charts = ['web']) => parseHelmIndex(Buffer.from(text), charts).get('web')

test('versions are text, digests may be missing or written with their kind, and other charts are left aside', () => {
  const index = `apiVersion: v1
entries:
  other: [{ version: 9.0.0, urls: [other.tgz] }]
  web:
    - { name: web, version: 1.10, created: 2020-01-01T00:00:00Z, urls: [web-1.10.tgz], digest: ${hex} }
    - { name: web, version: 1.0.0, urls: ["https://x/web.tgz", "https://y/web.tgz"], digest: "sha256:${hex}" }
    - { name: web, version: 0.9.0, urls: [a.tgz], digest: nonsense }
    - { name: web, version: 0.8.0, urls: [] }
    - { name: web, urls: [b.tgz] }
    - null
`
  expect(parse(index)).toEqual([
    { version: '1.10', digest: hex, url: 'web-1.10.tgz' },
    { version: '1.0.0', digest: hex, url: 'https://x/web.tgz' },
    { version: '0.9.0', digest: undefined, url: 'a.tgz' },
  ])
  expect(parse(JSON.stringify({ entries: { web: [{ version: '2.0.0', urls: ['w.tgz'] }] } }))).toEqual([
    { version: '2.0.0', digest: undefined, url: 'w.tgz' },
  ])
})

test.for(['', '[]', 'entries: []', '<html>login</html>', 'a: ['])('%j is no index', (text) => {
  expect(() => parse(text)).toThrow(/index/)
})

test('a chart of a name that objects have anyway is not there', () => {
  expect(parseHelmIndex(Buffer.from('entries: { web: [] }'), ['constructor', '__proto__'])).toEqual(new Map())
})
