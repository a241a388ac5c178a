// X.509 certificates (RFC 5280) in DER, of P-256 keys, signed with ECDSA and SHA-256: just what a CA and a server need.
import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP, isIPv6 } from 'node:net'

/** What a certificate says. */
export interface CertificateOptions {
  /** Common name of the owner. */
  readonly subject: string
  readonly publicKey: KeyObject
  /** Common name and key of the signer; the CA itself signs its own. */
  readonly issuer: { readonly name: string; readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  readonly notBefore: Date
  readonly notAfter: Date
  /** DNS names and IP addresses of a server; absent for a CA. */
  readonly names?: readonly string[]
}

/** A signed certificate as PEM. */
export function createCertificate(options: CertificateOptions): string {
  const algorithm = sequence(oid('2a8648ce3d040302'))
  const toBeSigned = sequence(
    element(0xa0, integer(Buffer.from([2]))),
    integer(serialNumber()),
    algorithm,
    commonName(options.issuer.name),
    sequence(time(options.notBefore), time(options.notAfter)),
    commonName(options.subject),
    options.publicKey.export({ type: 'spki', format: 'der' }),
    element(0xa3, sequence(...extensions(options))),
  )
  const signature = sign('sha256', toBeSigned, options.issuer.privateKey)
  const der = sequence(toBeSigned, algorithm, bitString(signature))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

function extensions({ publicKey, issuer, names }: CertificateOptions): Buffer[] {
  const critical = element(0x01, Buffer.from([0xff]))
  const subjectKey = extension('551d0e', element(0x04, keyIdentifier(publicKey)))
  if (!names) {
    return [
      // A CA that signs servers but no other CA; keyCertSign and cRLSign.
      extension('551d13', sequence(critical, integer(Buffer.from([0]))), critical),
      extension('551d0f', element(0x03, Buffer.from([1, 0b0000_0110])), critical),
      subjectKey,
    ]
  }
  return [
    extension('551d13', sequence(), critical),
    // digitalSignature; serverAuth.
    extension('551d0f', element(0x03, Buffer.from([7, 0b1000_0000])), critical),
    extension('551d25', sequence(oid('2b06010505070301'))),
    extension('551d11', sequence(...names.map(generalName))),
    subjectKey,
    extension('551d23', sequence(element(0x80, keyIdentifier(issuer.publicKey)))),
  ]
}

function extension(id: string, value: Buffer, critical: Buffer = Buffer.alloc(0)): Buffer {
  return sequence(oid(id), critical, element(0x04, value))
}

function generalName(name: string): Buffer {
  return isIP(name) ? element(0x87, addressBytes(name)) : element(0x82, Buffer.from(name, 'ascii'))
}

function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number))
  // The URL parser writes the canonical form, in which at most one `::` stands for the missing groups.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const groups = (text: string): string[] => text.split(':').filter((group) => group !== '')
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const zeros = Array<string>(8 - before.length - after.length).fill('0')
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''), 'hex')
}

/** SHA-1 of the raw public key (RFC 5280, 4.2.1.2): a name for the key, nothing that must resist attacks. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  const jwk = publicKey.export({ format: 'jwk' })
  const point = [Buffer.from([4]), Buffer.from(jwk.x ?? '', 'base64url'), Buffer.from(jwk.y ?? '', 'base64url')]
  return createHash('sha1').update(Buffer.concat(point)).digest()
}

function serialNumber(): Buffer {
  const bytes = randomBytes(16)
  // Positive and of full length.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes
}

function commonName(name: string): Buffer {
  return sequence(element(0x31, sequence(oid('550403'), element(0x0c, Buffer.from(name)))))
}

function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, '')
  // RFC 5280, 4.1.2.5: two-digit years up to 2049.
  return date.getUTCFullYear() < 2050 ? element(0x17, Buffer.from(digits.slice(2))) : element(0x18, Buffer.from(digits))
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => element(0x30, ...parts)
const integer = (bytes: Uint8Array): Buffer => element(0x02, bytes)
const oid = (hex: string): Buffer => element(0x06, Buffer.from(hex, 'hex'))
const bitString = (bytes: Uint8Array): Buffer => element(0x03, Buffer.from([0]), bytes)

function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const header = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...header]), content])
}
