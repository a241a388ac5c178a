// For tests: a CA and server certificates like the hub's own, made by openssl.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A CA that signs server certificates. */
export interface TestCa {
  readonly certificatePem: string
  /** A certificate for these host names and IP addresses; the subject is `/CN=server` unless it is for a client. */
  issue(names: readonly string[], subject?: string): { readonly certificatePem: string; readonly keyPem: string }
}

const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Makes a CA. */
export function createTestCa(name = 'Test CA'): TestCa {
  const [certificatePem, keyPem] = inFolder((folder) => {
    const constraints = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign']
    const out = ['-keyout', 'key.pem', '-out', 'crt.pem']
    openssl(folder, ['req', '-x509', ...EC_KEY, ...out, '-days', '30', '-subj', `/CN=${name}`, ...constraints])
  })
  return { certificatePem, issue: (names, subject) => issue(names, subject, certificatePem, keyPem) }
}

function issue(names: readonly string[], subject = '/CN=server', caPem: string, caKeyPem: string) {
  const san = names.map((value) => (isIP(value) === 0 ? `DNS:${value}` : `IP:${value}`)).join(',')
  const [certificatePem, keyPem] = inFolder((folder) => {
    writeFileSync(path.join(folder, 'ca.crt'), caPem)
    writeFileSync(path.join(folder, 'ca.key'), caKeyPem)
    writeFileSync(path.join(folder, 'san'), `subjectAltName=${san}\nbasicConstraints=critical,CA:FALSE\n`)
    openssl(folder, ['req', '-new', ...EC_KEY, '-keyout', 'key.pem', '-out', 'request.pem', '-subj', subject])
    const from = ['-in', 'request.pem', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'san']
    openssl(folder, ['x509', '-req', ...from, '-out', 'crt.pem', '-days', '30'])
  })
  return { certificatePem, keyPem }
}

/** Certificate and key that `make` leaves in a folder of its own. */
function inFolder(make: (folder: string) => void): readonly [certificatePem: string, keyPem: string] {
  const folder = mkdtempSync(path.join(tmpdir(), 'fairlead-certificates-'))
  try {
    make(folder)
    return [readFileSync(path.join(folder, 'crt.pem'), 'utf8'), readFileSync(path.join(folder, 'key.pem'), 'utf8')]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function openssl(cwd: string, args: readonly string[]): void {
  execFileSync('openssl', args, { cwd, stdio: 'pipe' })
}
