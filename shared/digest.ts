// SHA-256 digests and the fingerprint that pins the hub's CA.
import { createHash, X509Certificate } from 'node:crypto'

/** SHA-256 in lower-case hexadecimal. */
export function sha256Hex(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex')
}

/** The pin of a CA certificate (PEM): `sha256:` and the hexadecimal SHA-256 of its DER encoding. */
export function caPin(certificatePem: string): string {
  return `sha256:${sha256Hex(new X509Certificate(certificatePem).raw)}`
}

/** JSON with sorted keys, so that equal values have equal text. Undefined fields are left out, as JSON.stringify does. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`
  if (value !== null && typeof value === 'object') {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined)
    fields.sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(',')}}`
  }
  return JSON.stringify(value)
}
