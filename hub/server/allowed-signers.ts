// Allowed signers in OpenSSH's format (ssh-keygen(1), "ALLOWED SIGNERS"): one key a line. Pure.
import { AppError } from '@fairlead/shared/errors'

/** A key that may sign. */
export interface AllowedSigner {
  /** Who it belongs to, for messages. */
  readonly principals: string
  /** The public key as it travels (RFC 4253, section 6.6), in base64. */
  readonly key: string
  /** From when on signatures count, in seconds since the epoch. */
  readonly validAfterS?: number
  /** Until when, in seconds since the epoch. */
  readonly validBeforeS?: number
  /** A security key counts without a touch as well. */
  readonly noTouchRequired: boolean
}

/** Types of keys whose signatures are understood. */
export const SSH_KEY_TYPES: readonly string[] = [
  'ssh-ed25519',
  'ssh-rsa',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
]
const MAX_SIGNERS = 1_000
/** Words of a line, with quoted parts that may hold blanks. */
const WORD = /(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g
const OPTION = /([a-z-]+)(?:="((?:[^"\\]|\\.)*)")?(?:,|$)/giy

/** The signers whose keys count for Git. Throws InvalidArgument that names the line, also for what is not understood: a rule that is passed over might be one that forbids. */
export function parseAllowedSigners(text: string): AllowedSigner[] {
  const signers = text.split('\n').flatMap((line, index) => {
    const trimmed = line.trim()
    return trimmed === '' || trimmed.startsWith('#') ? [] : (parseLine(trimmed, index + 1) ?? [])
  })
  if (signers.length > MAX_SIGNERS) throw new AppError('InvalidArgument', `more than ${MAX_SIGNERS} signers`)
  return signers
}

/** Undefined for keys of other namespaces. */
function parseLine(line: string, number: number): AllowedSigner | undefined {
  const fail = (why: string): never => {
    throw new AppError('InvalidArgument', `line ${number}: ${why}`)
  }
  const [principals = '', ...rest] = line.match(WORD) ?? []
  const [optionText, ...key] = SSH_KEY_TYPES.includes(rest[0] ?? '') ? ['', ...rest] : rest
  const [type = '', base64 = ''] = key
  if (!SSH_KEY_TYPES.includes(type))
    fail(`write <principals> [options] <key type> <key>, the type one of ${SSH_KEY_TYPES.join(', ')}`)
  const blob = Buffer.from(base64, 'base64')
  const isKey =
    blob.toString('base64') === base64 &&
    blob.length > 4 &&
    blob.toString('latin1', 4, 4 + blob.readUInt32BE(0)) === type
  if (!isKey) fail(`the key is not one of type ${type}`)
  const options = parseOptions(optionText ?? '') ?? fail('the options cannot be read')
  const unknown = [...options.keys()].find(
    (name) => !['namespaces', 'valid-after', 'valid-before', 'no-touch-required'].includes(name),
  )
  if (unknown !== undefined) fail(`the option ${unknown} is not supported`)
  const namespaces = options.get('namespaces')?.split(',')
  if (namespaces && !namespaces.some((namespace) => namespace === 'git' || namespace === '*')) return undefined
  const time = (name: string): number | undefined => {
    const value = options.get(name)
    return value === undefined
      ? undefined
      : (findTimeS(value) ?? fail(`${name} is no time such as 20260131 or 20260131120000Z`))
  }
  const [validAfterS, validBeforeS] = [time('valid-after'), time('valid-before')]
  return {
    principals: principals.replaceAll('"', ''),
    key: base64,
    ...(validAfterS !== undefined && { validAfterS }),
    ...(validBeforeS !== undefined && { validBeforeS }),
    noTouchRequired: options.has('no-touch-required'),
  }
}

function parseOptions(text: string): Map<string, string> | undefined {
  const options = new Map<string, string>()
  OPTION.lastIndex = 0
  for (let position = 0; position < text.length; position = OPTION.lastIndex) {
    const match = OPTION.exec(text)
    if (match === null) return undefined
    options.set((match[1] ?? '').toLowerCase(), match[2] ?? '')
  }
  return options
}

/** YYYYMMDD[HHMM[SS]], taken as UTC with or without a Z: the hub's time zone must not decide. */
function findTimeS(text: string): number | undefined {
  const match = /^(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?Z?$/.exec(text)
  if (match === null) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    .map((part) => Number(part ?? 0))
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1_000
}
