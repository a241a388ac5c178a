import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { expect, test } from 'vitest'
import { verifySshSignature } from './ssh-signature.ts'

const payload = Buffer.from('tree 1\n\nmessage\n')

function string(value: Buffer | string): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()

interface Forged {
  readonly namespace?: string
  readonly version?: number
  readonly flags?: number
  readonly tail?: string
}

/** What a security key answers, as in PROTOCOL.u2f, in OpenSSH's armour. */
function signBySecurityKey({ namespace = 'git', version = 1, flags = 1, tail = '' }: Forged = {}): string {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const type = 'sk-ssh-ed25519@openssh.com'
  const hash = createHash('sha512').update(payload).digest()
  const message = Buffer.concat([Buffer.from('SSHSIG'), string(namespace), string(''), string('sha512'), string(hash)])
  const counter = Buffer.from([0, 0, 0, 7])
  const signed = Buffer.concat([sha256(Buffer.from('ssh:')), Buffer.from([flags]), counter, sha256(message)])
  const signature = Buffer.concat([string(type), string(sign(null, signed, privateKey)), Buffer.from([flags]), counter])
  const blob = Buffer.concat([
    Buffer.from('SSHSIG'),
    Buffer.from([0, 0, 0, version]),
    string(Buffer.concat([string(type), string(raw), string('ssh:')])),
    ...[namespace, '', 'sha512'].map(string),
    string(signature),
    Buffer.from(tail),
  ])
  return `-----BEGIN SSH SIGNATURE-----\n${blob.toString('base64')}\n-----END SSH SIGNATURE-----\n`
}

test('a security key counts, and it is told whether it was touched', () => {
  expect(verifySshSignature(signBySecurityKey(), payload)).toMatchObject({ wasTouched: true })
  expect(verifySshSignature(signBySecurityKey({ flags: 0 }), payload)).toMatchObject({ wasTouched: false })
  expect(() => verifySshSignature(signBySecurityKey(), Buffer.from('other'))).toThrow('does not hold')
})

test.each([
  ['for a file', signBySecurityKey({ namespace: 'file' }), 'something else than Git'],
  ['of another version', signBySecurityKey({ version: 2 }), 'version 1'],
  ['with something behind it', signBySecurityKey({ tail: 'x' }), 'something follows it'],
  ['without armour', 'AAAA', 'armour'],
  ['that is cut short', `-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n`, 'cut short'],
  ['of ten megabytes', `-----BEGIN SSH SIGNATURE-----\n${'A'.repeat(10_000_000)}`, 'too long'],
])('a signature %s does not count', (_, armour, message) => {
  expect(() => verifySshSignature(armour, payload)).toThrow(message)
})
