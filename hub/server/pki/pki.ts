// The hub's own certificate authority and the one server certificate that the API and NATS present. The CA is sent in the
// chain, so that an agent that knows only the CA's pin can check it.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import path from 'node:path'
import { findFile, keepSecretFile, writeSecretFile } from '../secret-file.ts'
import { createCertificate } from './certificate.ts'

/** Certificates and keys, as PEM and as files. */
export interface Pki {
  readonly caPem: string
  readonly caFile: string
  /** The server's certificate followed by the CA's. */
  readonly serverChainPem: string
  readonly serverKeyPem: string
  readonly serverChainFile: string
  readonly serverKeyFile: string
}

const DAY_MS = 86_400_000
const CA_NAME = 'Fairlead hub CA'
const CA_DAYS = 7300
const SERVER_DAYS = 730
/** A server certificate with less left than this is made again when the hub starts. */
const RENEW_WITHIN_DAYS = 180
/** Clocks of clusters may be behind the hub's by this much. */
const BACKDATE_MS = DAY_MS

/**
 * Reads the CA and the server certificate from `folder`, and makes what is missing. The server certificate is made again
 * when it does not name all of `names` (DNS names and IP addresses, beside localhost and this host) or ends soon.
 */
export async function openPki(folder: string, names: readonly string[]): Promise<Pki> {
  const caFile = path.join(folder, 'ca.crt')
  const caKey = createPrivateKey(await keepSecretFile(path.join(folder, 'ca.key'), generateKeyPem))
  const issuer = { name: CA_NAME, publicKey: createPublicKey(caKey), privateKey: caKey }
  const caPem = await keepCertificate(caFile, () =>
    createCertificate({ subject: CA_NAME, publicKey: issuer.publicKey, issuer, ...validity(CA_DAYS) }),
  )
  const serverKeyFile = path.join(folder, 'server.key')
  const serverKeyPem = await keepSecretFile(serverKeyFile, generateKeyPem)
  const serverKey = createPrivateKey(serverKeyPem)
  const wanted = [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...names])].filter((name) => name !== '')
  const serverChainFile = path.join(folder, 'server.crt')
  let serverChainPem = await findFile(serverChainFile)
  if (serverChainPem === undefined || !isUsable(serverChainPem, serverKey, caPem, wanted)) {
    const publicKey = createPublicKey(serverKey)
    const options = { subject: 'Fairlead hub', publicKey, issuer, names: wanted, ...validity(SERVER_DAYS) }
    serverChainPem = createCertificate(options) + caPem
    await writeSecretFile(serverChainFile, serverChainPem, 0o644)
  }
  return { caPem, caFile, serverChainPem, serverKeyPem, serverChainFile, serverKeyFile }
}

async function keepCertificate(file: string, make: () => string): Promise<string> {
  const kept = await findFile(file)
  if (kept !== undefined) return kept
  const pem = make()
  await writeSecretFile(file, pem, 0o644)
  return pem
}

/** True when the certificate is of this key and CA, names everything that is wanted, and lasts long enough. */
function isUsable(chainPem: string, key: KeyObject, caPem: string, names: readonly string[]): boolean {
  const certificate = new X509Certificate(chainPem)
  const lastsLong = Date.parse(certificate.validTo) - Date.now() > RENEW_WITHIN_DAYS * DAY_MS
  const namesAll = names.every((name) =>
    isIP(name) ? certificate.checkIP(name) !== undefined : certificate.checkHost(name) !== undefined,
  )
  const issuedByCa = certificate.verify(new X509Certificate(caPem).publicKey)
  return issuedByCa && lastsLong && namesAll && certificate.checkPrivateKey(key)
}

function generateKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now()
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + days * DAY_MS) }
}
