// Decrypts documents that SOPS encrypted (github.com/getsops/sops, sops.go and aes/cipher.go of v3): AES-256-GCM a value,
// with the path as additional data, and one MAC over the values of all documents of a file in their order. Messages name
// fields, never values.
import { createDecipheriv, createHash, type Hash, timingSafeEqual } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import { isEncryptedValue } from '@fairlead/shared/sops'
import { type JsonMap, JsonNumber, type JsonTree } from './json-tree.ts'

/** A data key, encrypted for one recipient. */
export interface SealedKey {
  /** age1... */
  readonly recipient: string
  /** The armored age file. */
  readonly enc: string
}

/** What the `sops` block of a document says. */
export interface SopsMetadata {
  readonly keys: readonly SealedKey[]
  readonly mac: string
  readonly lastModified: string
  readonly macOnlyEncrypted: boolean
  /** Whether the value at a path must be encrypted; undefined when that cannot be told without what JSON has not, or not safely. */
  readonly mustBeEncrypted: (path: readonly string[]) => boolean | undefined
}

/** A document in the clear. */
export interface ClearDocument {
  /** Without the `sops` block. */
  readonly tree: JsonMap
  /** pathKey of each value that was encrypted. */
  readonly decrypted: ReadonlySet<string>
}

const KEYS_MAX = 100
const SEALED_KEY_MAX_CHARACTERS = 65_536
const VALUE = /^ENC\[AES256_GCM,data:([A-Za-z0-9+/=]+),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z]+)\]$/
/** sha256 of "sops": begins the MAC where it covers encrypted values only. */
const MAC_ONLY_ENCRYPTED = Buffer.from('8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69', 'hex')

/** One key for each path. */
export function pathKey(path: readonly (string | number)[]): string {
  return JSON.stringify(path)
}

/** Reads the `sops` block. Throws DecryptionFailed when it is none, or asks for what is not supported. */
export function readMetadata(document: JsonMap): SopsMetadata {
  const block = document.get('sops')
  if (!(block instanceof Map)) throw failure('it has no sops block')
  if (block.has('key_groups')) throw failure('its key is split among key groups, which are not supported')
  const keys = readKeys(block.get('age'))
  if (keys.length === 0) {
    const others = [...block].filter(([, value]) => Array.isArray(value) && value.length > 0).map(([name]) => name)
    throw failure(`it is encrypted for no age key${others.length > 0 ? ` but by ${others.join(', ')}` : ''}`)
  }
  const [mac, lastModified] = [textOf(block, 'mac'), textOf(block, 'lastmodified')]
  if (mac === '' || lastModified === '') throw failure('its sops block has no mac or no lastmodified')
  const macOnlyEncrypted = block.get('mac_only_encrypted') === true
  return { keys, mac, lastModified, macOnlyEncrypted, mustBeEncrypted: readRules(block) }
}

function readKeys(list: JsonTree | undefined): SealedKey[] {
  if (!Array.isArray(list)) return []
  if (list.length > KEYS_MAX) throw failure(`it is encrypted for more than ${KEYS_MAX} keys`)
  return list.flatMap((item): SealedKey[] => {
    if (!(item instanceof Map)) return []
    const [recipient, enc] = [textOf(item, 'recipient'), textOf(item, 'enc')]
    return recipient === '' || enc === '' || enc.length > SEALED_KEY_MAX_CHARACTERS ? [] : [{ recipient, enc }]
  })
}

/** As shouldBeEncrypted of SOPS: the rules in their order, the later over the earlier. */
function readRules(block: JsonMap): SopsMetadata['mustBeEncrypted'] {
  const unknown = (): undefined => undefined
  if (textOf(block, 'encrypted_comment_regex') !== '' || textOf(block, 'unencrypted_comment_regex') !== '')
    return unknown
  const rules: { readonly matches: (key: string) => boolean; readonly encrypted: boolean }[] = []
  for (const kind of ['suffix', 'regex'] as const) {
    for (const encrypted of [false, true]) {
      const text = textOf(block, `${encrypted ? 'encrypted' : 'unencrypted'}_${kind}`)
      if (text === '') continue
      const matches = kind === 'suffix' ? (key: string) => key.endsWith(text) : compileSafely(text)
      if (!matches) return unknown
      rules.push({ matches, encrypted })
    }
  }
  return (path) => {
    let result = true
    for (const { matches, encrypted } of rules) {
      if (path.some(matches)) result = encrypted
      else if (encrypted) result = false
    }
    return result
  }
}

/** The expression comes from a repository: only what cannot take long, and means the same in Go, is run. */
function compileSafely(expression: string): ((key: string) => boolean) | undefined {
  if (expression.length > 200 || !/^[\w\-/^$|().:]*$/.test(expression) || (expression.match(/\(/g)?.length ?? 0) > 3) {
    return undefined
  }
  try {
    const compiled = new RegExp(expression, 'u')
    return (key) => compiled.test(key)
  } catch {
    return undefined
  }
}

/**
 * Decrypts all documents of one file, in their order, by its data key of 32 bytes. All or nothing: throws
 * DecryptionFailed when a value cannot be decrypted, or anything was altered since it was encrypted.
 */
export function decryptDocuments(
  documents: readonly JsonMap[],
  metadata: SopsMetadata,
  key: Uint8Array,
): ClearDocument[] {
  const mac = createHash('sha512')
  if (metadata.macOnlyEncrypted) mac.update(MAC_ONLY_ENCRYPTED)
  const clear = documents.map((document) => {
    const walk = new Walk(metadata, key, mac)
    const values = new Map([...document].filter(([name]) => name !== 'sops'))
    return { tree: walk.value(values, [], []) as JsonMap, decrypted: walk.decrypted }
  })
  if (!agrees(mac, metadata, key)) {
    const missing = documents.length > 1 ? ', or one of its documents is missing' : ''
    throw failure(`it was altered after it was encrypted${missing}: its MAC does not agree`)
  }
  return clear
}

function agrees(mac: Hash, { mac: sealed, lastModified }: SopsMetadata, key: Uint8Array): boolean {
  const expected = Buffer.from(String(openValue(sealed, key, lastModified, 'sops.mac').value))
  const found = Buffer.from(mac.digest('hex').toUpperCase())
  return expected.length === found.length && timingSafeEqual(expected, found)
}

class Walk {
  readonly decrypted = new Set<string>()
  readonly #metadata: SopsMetadata
  readonly #key: Uint8Array
  readonly #mac: Hash

  constructor(metadata: SopsMetadata, key: Uint8Array, mac: Hash) {
    this.#metadata = metadata
    this.#key = key
    this.#mac = mac
  }

  /** `names` is the path without indexes, as SOPS has it. */
  value(value: JsonTree, path: readonly (string | number)[], names: readonly string[]): JsonTree {
    if (Array.isArray(value)) return value.map((item, index) => this.value(item, [...path, index], names))
    if (value instanceof Map) {
      return new Map([...value].map(([name, item]) => [name, this.value(item, [...path, name], [...names, name])]))
    }
    return value === null ? null : this.#leaf(value, path, names)
  }

  #leaf(value: string | boolean | JsonNumber, path: readonly (string | number)[], names: readonly string[]): JsonTree {
    const looksEncrypted = typeof value === 'string' && isEncryptedValue(value)
    const isEncrypted = this.#metadata.mustBeEncrypted(names) ?? (looksEncrypted || value === '')
    if (!isEncrypted) {
      if (!this.#metadata.macOnlyEncrypted) this.#mac.update(macBytes(value))
      return value
    }
    if (value === '') return value
    const field = names.join('.')
    if (!looksEncrypted) throw failure(`${field} should be encrypted and is not`)
    const opened = openValue(value, this.#key, `${names.join(':')}:`, field)
    this.#mac.update(macBytes(opened.value))
    this.decrypted.add(pathKey(path))
    return opened.value
  }
}

function openValue(
  sealed: string,
  key: Uint8Array,
  aad: string,
  field: string,
): { value: string | boolean | JsonNumber } {
  const [, data = '', iv = '', tag = '', type = ''] = VALUE.exec(sealed) ?? []
  if (type === '') throw failure(`${field} is not what SOPS writes`)
  let text: string
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64'), { authTagLength: 16 })
    decipher.setAAD(Buffer.from(aad))
    decipher.setAuthTag(Buffer.from(tag, 'base64'))
    const bytes = Buffer.concat([decipher.update(Buffer.from(data, 'base64')), decipher.final()])
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // The cause may speak of what was decrypted.
    throw failure(`${field} cannot be decrypted: it was altered or moved, or is not text`)
  }
  return { value: typedValue(text, type, field) }
}

function typedValue(text: string, type: string, field: string): string | boolean | JsonNumber {
  switch (type) {
    case 'str':
    case 'bytes':
    case 'time':
      return text
    case 'bool':
      if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true'
      break
    case 'int':
    case 'float':
      if (/^-?\d+(\.\d+)?$/.test(text)) return new JsonNumber(text)
      break
  }
  throw failure(`${field} is of a type that is not supported: ${type}`)
}

/** As ToBytes of SOPS. */
function macBytes(value: string | boolean | JsonNumber): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  return value instanceof JsonNumber ? plainDigits(value.text) : value
}

/** A number as Go's FormatFloat(x, 'f', -1, 64) writes it: without exponent, as short as possible. Integers keep their digits. */
function plainDigits(text: string): string {
  if (/^-?\d+$/.test(text)) return text
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(String(Number(text))) ?? []
  const digits = whole + fraction
  const point = whole.length + Number(exponent)
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  if (point >= digits.length) return `${sign}${digits}${'0'.repeat(point - digits.length)}`
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`
}

function textOf(map: JsonMap, key: string): string {
  const value = map.get(key)
  return typeof value === 'string' ? value : ''
}

function failure(message: string): AppError {
  return new AppError('DecryptionFailed', message)
}
