// What the real sops encrypts passes the hub's renderer and comes out of the agent's decryptor as sops itself decrypts it;
// what was altered on the way does not.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { AgeKeys } from '@fairlead/agent/decryptor/age-keys'
import { type DecryptedDocument, decryptWith, type EncryptedDocument } from '@fairlead/agent/decryptor/decryptor'
import { inputsOf, renderInputs } from '@fairlead/server/renderer/render.test-support'
import { AppError } from '@fairlead/shared/errors'
import { generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureTools } from '../tools/tools.ts'

let folder: string
let sops: string
let identity: string
let recipient: string
let keys: AgeKeys

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'fairlead-sops-'))
  sops = (await ensureTools(['sops'])).sops
  identity = await generateIdentity()
  recipient = await identityToRecipient(identity)
  keys = await AgeKeys.of([identity], 'the test')
}, 600_000)
afterAll(() => rmSync(folder, { recursive: true }))

/** Options that sops takes from a configuration file only. */
function rule(text: string): string[] {
  return ['rule', `creation_rules: [{${text}}]\n`]
}

const DATA_ONLY = ['--encrypted-regex', '^(data|stringData)$']

function encrypt(name: string, content: string, flags: readonly string[] = DATA_ONLY, to = recipient): string {
  const file = path.join(folder, name)
  writeFileSync(file, content)
  const [kind, configuration = ''] = flags
  const config = path.join(folder, 'sops-config.yaml')
  if (kind === 'rule') writeFileSync(config, configuration.replace('[{', `[{age: "${to}", `))
  const args = kind === 'rule' ? ['--config', config, 'encrypt', file] : ['encrypt', '--age', to, ...flags, file]
  return execFileSync(sops, args, { encoding: 'utf8' })
}

/** As sops decrypts it, as JSON. */
function decryptBySops(name: string, content: string): Record<string, unknown>[] {
  const file = path.join(folder, name)
  writeFileSync(file, content)
  const clear = execFileSync(sops, ['decrypt', file], {
    encoding: 'utf8',
    env: { ...process.env, SOPS_AGE_KEY: identity },
  })
  return objectsOf(name, clear).map(({ json }) => JSON.parse(Buffer.from(json).toString()))
}

/** The manifests that the hub makes of a file. */
function objectsOf(name: string, content: string): EncryptedDocument[] {
  const options = { application: 'web', path: '', namespace: 'web' }
  const { artifact, problems } = renderInputs(inputsOf({ [name]: content }, ['']), options)
  expect(problems).toEqual([])
  return artifact.manifests.map(({ json, source }) => ({ json, file: source?.file ?? '' }))
}

async function open(name: string, content: string, using = keys): Promise<(DecryptedDocument | AppError)[]> {
  return await decryptWith(using, objectsOf(name, content), new AbortController().signal)
}

/** Without the null that kubectl writes, which the hub leaves out of what is not encrypted. */
function plain(outcome: DecryptedDocument | AppError | undefined): unknown {
  if (outcome === undefined || outcome instanceof AppError) return String(outcome)
  const object = JSON.parse(JSON.stringify(outcome.object))
  delete object.metadata.creationTimestamp
  return object
}

const login = `# a comment
apiVersion: v1
kind: Secret
metadata:
  name: login
  creationTimestamp: null
  annotations: {mode: "0644", "10": b, "9": a}
plain: {n: 1, f: 1.50, big: 1e21, small: 1.5e-9, b: true, octal: 0644, old: yes, no: null, empty: "", list: [1, two, [2.5, {k: v}]]}
data:
  "10": aGVsbG8=
  "2": "" # inline
  user: YWRtaW4=
  # inside
stringData:
  int: 12
  negative: -3
  float: 1.5
  bool: true
  "no": false
  empty: ""
  nothing: null
  map: {}
  list: []
  multi: |
    line one
    line two
  unicode: "ünïcode e\\u0301 🎉 שלום \\u0001"
  deep: [1, "two", [3.25, {x: y, z: [false]}]]
  looks: "ENC[AES256_GCM,data:x]"
`
const second = `apiVersion: v1
kind: ConfigMap
metadata: {name: second}
data: {a: b, c_unencrypted: d}
`
const json = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'j', annotations: { '7': 'x', '3': 'y' } },
  spec: { n: 3, f: 1.5, big: 1e21 },
  stringData: { b: 'x', a: 3, yes: true, none: null, empty: '', list: [1, 'a', { k: 2.5 }] },
})

describe('what sops encrypts is decrypted as sops does it', () => {
  test.each([
    ['YAML with every type, comments and keys that look like numbers', 'a.yaml', login, DATA_ONLY],
    [
      'several documents, which share one MAC',
      'b.yaml',
      `${login}---\n${second}---\n${second.replace('second', 'third')}`,
      DATA_ONLY,
    ],
    ['JSON', 'c.json', json, DATA_ONLY],
    [
      'a suffix of what is encrypted',
      'd.yaml',
      second.replace('a: b', 'a_secret: b'),
      ['--encrypted-suffix', '_secret'],
    ],
    [
      'a regular expression of what is not',
      'e.yaml',
      login,
      ['--unencrypted-regex', '^(apiVersion|kind|metadata|plain)$'],
    ],
    [
      'a MAC over encrypted values only',
      'g.yaml',
      login,
      rule("encrypted_regex: '^(data|stringData)$', mac_only_encrypted: true"),
    ],
    [
      'an expression that is not run, as it could take for ever',
      'h.yaml',
      login,
      ['--encrypted-regex', '^((d+)+ata|stringData)$'],
    ],
    [
      'what a comment says to encrypt',
      'i.yaml',
      second.replace('{a: b, c_unencrypted: d}', '\n  # secret\n  a: b\n  c: d'),
      rule('encrypted_comment_regex: secret'),
    ],
  ])('%s', async (_what, name, content, flags) => {
    const encrypted = encrypt(name, content, flags)
    expect(encrypted).toContain('ENC[AES256_GCM')
    const opened = await open(name, encrypted)
    expect(opened.map(plain)).toEqual(decryptBySops(name, encrypted))
  })

  test('for one of several recipients', async () => {
    const other = await identityToRecipient(await generateIdentity())
    const encrypted = encrypt('k.yaml', second, DATA_ONLY, `${other},${recipient}`)
    expect(plain((await open('k.yaml', encrypted))[0])).toMatchObject({ data: { a: 'b' } })
  })

  test('what is kept of it for comparison holds no secret value', async () => {
    const [opened] = await open('l.yaml', encrypt('l.yaml', second))
    if (!opened || opened instanceof AppError) throw new Error(String(opened))
    expect(JSON.stringify(opened.sealed)).not.toContain('"b"')
    expect(opened.sealed).toMatchObject({ kind: 'ConfigMap', metadata: { name: 'second' } })
    expect([opened.wasEncrypted(['data', 'a']), opened.wasEncrypted(['metadata', 'name'])]).toEqual([true, false])
  })
})

describe('what was altered after it was encrypted is refused as a whole', () => {
  const swap = (text: string): string => {
    const [first = '', other = ''] = text.match(/ENC\[AES256_GCM,data:[^\]]*type:str\]/g) ?? []
    return text.replace(first, '@').replace(other, first).replace('@', other)
  }
  test.each([
    ['a plain value changed', (text: string) => text.replace('name: login', 'name: admin'), 'MAC does not agree'],
    ['a plain value added', (text: string) => text.replace('kind: Secret', 'kind: Secret\nimmutable: true'), 'MAC'],
    [
      'a value replaced by a plain one',
      (text: string) => text.replace(/user: ENC\[[^\]]*\]/, 'user: YWRtaW4='),
      'data.user should be encrypted and is not',
    ],
    ['an encrypted value removed', (text: string) => text.replace(/ {4}user: ENC.*\n/, ''), 'MAC does not agree'],
    ['two values swapped', swap, 'cannot be decrypted'],
    ['a value moved to another key', (text: string) => text.replace('user:', 'root:'), 'data.root cannot be decrypted'],
    [
      'a bit flipped',
      (text: string) =>
        text.replace(/(user: ENC\[AES256_GCM,data:)(.)/, (_all, head, one) => `${head}${one === 'A' ? 'B' : 'A'}`),
      'data.user cannot be decrypted',
    ],
    [
      'the order changed',
      (text: string) => text.replace(/( {4}int: ENC.*\n)( {4}negative: ENC.*\n)/, '$2$1'),
      'MAC does not agree',
    ],
    ['no MAC', (text: string) => text.replace(/ {4}mac: .*\n/, ''), 'no mac'],
    [
      'another time',
      (text: string) => text.replace(/lastmodified: "20/, 'lastmodified: "21'),
      'sops.mac cannot be decrypted',
    ],
    ['the data key replaced', (text: string) => text.replace(/(FILE-----\n\s+)(....)/, '$1AAAA'), 'cannot be opened'],
  ])('%s', async (_what, alter, message) => {
    const encrypted = encrypt('x.yaml', login)
    const altered = alter(encrypted)
    expect(altered).not.toBe(encrypted)
    const [outcome] = await open('x.yaml', altered)
    expect(outcome).toMatchObject({ code: 'DecryptionFailed', message: expect.stringContaining(message) })
    for (const secret of ['YWRtaW4=', 'aGVsbG8=', 'line one', 'ünïcode']) expect(String(outcome)).not.toContain(secret)
  })

  test('a document of its file taken away', async () => {
    const [first = '', , third = ''] = encrypt(
      'y.yaml',
      `${login}---\n${second}---\n${second.replace('second', 'third')}`,
    ).split(/^---\n/m)
    const outcomes = await open('y.yaml', `${first}---\n${third}`)
    expect(outcomes).toMatchObject(
      Array(2).fill({
        code: 'DecryptionFailed',
        message: expect.stringContaining('or one of its documents is missing'),
      }),
    )
  })

  test('while other files of the application are decrypted', async () => {
    const good = objectsOf('good.yaml', encrypt('good.yaml', second))
    const bad = objectsOf('bad.yaml', encrypt('bad.yaml', second).replace('second', 'third'))
    const outcomes = await decryptWith(keys, [...bad, ...good], new AbortController().signal)
    expect(outcomes[0]).toMatchObject({ code: 'DecryptionFailed' })
    expect(plain(outcomes[1])).toMatchObject({ data: { a: 'b' } })
  })
})

describe('without the right key it is told which one is wanted', () => {
  test('when the cluster has another', async () => {
    const others = await AgeKeys.of([await generateIdentity()], 'Secrets of the test')
    const [outcome] = await open('z.yaml', encrypt('z.yaml', second), others)
    expect(outcome).toMatchObject({
      code: 'DecryptionFailed',
      message: `it is encrypted for ${recipient}, and none of the 1 keys in Secrets of the test is one of these`,
    })
  })
})
