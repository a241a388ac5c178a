// What a Repository must be beyond its shape.
import { X509Certificate } from 'node:crypto'
import { durationMs } from '@bufbuild/protobuf/wkt'
import type {
  RepositoryCredentials,
  RepositoryProxy,
  RepositorySpec,
  RepositoryVerification,
} from '@fairlead/proto/definitions'
import { parseAllowedSigners } from '../allowed-signers.ts'
import { findSecretKey } from '../cluster-secrets.ts'
import { parseCosignKeys } from '../cosign-keys.ts'
import { findNameProblem } from '../label-selector.ts'
import { findOciAddressProblem, holdsPackages, isOciAddress } from '../package-reference.ts'
import { findKnownHostsProblem, findSshAddress } from '../ssh-address.ts'
import { findPlaceProblems } from './application-rules.ts'
import type { FieldProblem } from './document-shape.ts'

const MAX_URL_LENGTH = 2_048
const POLL_INTERVAL_MS = { min: 1_000, max: 86_400_000 } as const
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/
const PGP_BLOCK = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]+-----END PGP PUBLIC KEY BLOCK-----/
const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/** Everything that is wrong with a repository. */
export function findRepositoryProblems(spec: RepositorySpec): FieldProblem[] {
  const isOci = isOciAddress(spec.url)
  const isSsh = !isOci && findSshAddress(spec.url) !== undefined
  const checks: readonly (readonly [string, string | undefined])[] = [
    ['spec.url', isSsh ? undefined : isOci ? findOciAddressProblem(spec.url) : findUrlProblem(spec.url)],
    ['spec.pollInterval', findPollIntervalProblem(spec)],
    ['spec.webhook.secretFrom', spec.webhook && findCredentialsProblem(spec.webhook.secretFrom)],
    ['spec.caPem', findCaProblem(spec.caPem)],
  ]
  return [
    ...checks.flatMap(([field, message]) => at(field, message)),
    ...(isSsh ? findSshProblems(spec) : findLoginProblems(spec.credentials)),
    ...findProxyProblems(spec.proxy),
    ...findVerificationProblems(spec),
    ...findHostProblems('spec.redirectHosts', spec.redirectHosts),
    ...findHostProblems('spec.submodules.hosts', spec.submodules?.hosts ?? []),
    ...findHostProblems('spec.lfs.hosts', spec.lfs?.hosts ?? []),
    ...(spec.bases?.repositories ?? []).flatMap((name, index) =>
      at(`spec.bases.repositories[${index}]`, findNameProblem(name)),
    ),
    ...(spec.definitions ? findPlaceProblems('spec.definitions', spec.definitions) : []),
    ...at('spec.lfs', isSsh && spec.lfs ? 'is not for addresses of SSH' : undefined),
    ...at('spec.helm', isSsh && spec.helm ? 'is not for addresses of SSH' : undefined),
    ...(holdsPackages(spec) ? findPackageProblems(spec) : []),
  ]
}

/** What only Git repositories have. */
function findPackageProblems({
  url,
  submodules,
  lfs,
  ssh,
  credentials,
  definitions,
  helm,
  bases,
}: RepositorySpec): FieldProblem[] {
  const useless = 'is for Git repositories only'
  return [
    ...at('spec.submodules', submodules && useless),
    ...at('spec.lfs', lfs && useless),
    ...at('spec.ssh', ssh && isOciAddress(url) ? useless : undefined),
    ...at('spec.credentials.githubApp', credentials?.githubApp && useless),
    ...at('spec.bases', bases && useless),
    ...at('spec.definitions', definitions && helm && 'is not for repositories of charts'),
  ]
}

function findHostProblems(field: string, hosts: readonly string[]): FieldProblem[] {
  const message = 'is no host such as cdn.example.com or cdn.example.com:8443'
  return hosts.flatMap((host, index) => at(`${field}[${index}]`, HOST.test(host) ? undefined : message))
}

function findLoginProblems(credentials: RepositoryCredentials | undefined): FieldProblem[] {
  if (!credentials) return []
  const { from, githubApp } = credentials
  if (!githubApp) return at('spec.credentials.from', findCredentialsProblem(from))
  const field = 'spec.credentials.githubApp'
  return [
    ...at('spec.credentials', from === '' ? undefined : 'names both from and githubApp'),
    ...at(`${field}.appId`, /^[A-Za-z0-9.]{1,64}$/.test(githubApp.appId) ? undefined : 'is no App ID or client ID'),
    ...at(`${field}.installationId`, /^\d{1,20}$/.test(githubApp.installationId) ? undefined : 'is no number'),
    ...at(`${field}.privateKeyFrom`, findCredentialsProblem(githubApp.privateKeyFrom)),
    ...at(`${field}.apiUrl`, githubApp.apiUrl === '' ? undefined : findUrlProblem(githubApp.apiUrl)),
  ]
}

function findSshProblems({ ssh, credentials, proxy, caPem }: RepositorySpec): FieldProblem[] {
  const useless = 'is not for addresses of SSH'
  const line = ssh && findKnownHostsProblem(ssh.knownHosts)
  const where =
    line === 0
      ? 'is empty: the lines that ssh-keyscan prints, compared with what the host publishes'
      : `line ${line} is none of a known_hosts file`
  return [
    ...at('spec.ssh', ssh ? undefined : 'is missing: knownHosts and privateKeyFrom'),
    ...at('spec.ssh.knownHosts', line === undefined ? undefined : where),
    ...at('spec.ssh.privateKeyFrom', ssh && findCredentialsProblem(ssh.privateKeyFrom)),
    ...at('spec.credentials', credentials && useless),
    ...at('spec.proxy', proxy && useless),
    ...at('spec.caPem', caPem === '' ? undefined : useless),
  ]
}

function findProxyProblems(proxy: RepositoryProxy | undefined): FieldProblem[] {
  if (!proxy) return []
  return [
    ...at('spec.proxy.url', proxy.url === '' ? undefined : findUrlProblem(proxy.url)),
    ...at('spec.proxy.credentials.from', proxy.credentials && findCredentialsProblem(proxy.credentials.from)),
  ]
}

function at(field: string, message: string | undefined): FieldProblem[] {
  return message === undefined ? [] : [{ field, message }]
}

function findVerificationProblems(spec: RepositorySpec): FieldProblem[] {
  const { verify } = spec
  if (!verify) return []
  if (holdsPackages(spec)) return findCosignProblems(spec.url, verify)
  const useless = 'is for OCI artifacts; commits are signed by SSH or OpenPGP keys'
  const cosign = [
    ...at('spec.verify.cosignKeys', verify.cosignKeys === '' ? undefined : useless),
    ...at('spec.verify.cosignKeysFrom', verify.cosignKeysFrom === '' ? undefined : useless),
  ]
  if (cosign.length > 0) return cosign
  const { allowedSigners, allowedSignersFrom, gpgKeys, gpgKeysFrom } = verify
  if ([allowedSigners, allowedSignersFrom, gpgKeys, gpgKeysFrom].every((text) => text.trim() === '')) {
    return [{ field: 'spec.verify', message: 'names no key: give allowedSigners or gpgKeys, or where they are' }]
  }
  const checks: readonly (readonly [string, string | undefined])[] = [
    ['spec.verify.allowedSigners', findSignersProblem(allowedSigners)],
    [
      'spec.verify.allowedSignersFrom',
      allowedSignersFrom === '' ? undefined : findCredentialsProblem(allowedSignersFrom),
    ],
    ['spec.verify.gpgKeys', findGpgKeysProblem(gpgKeys)],
    ['spec.verify.gpgKeysFrom', gpgKeysFrom === '' ? undefined : findCredentialsProblem(gpgKeysFrom)],
  ]
  return checks.flatMap(([field, message]) => at(field, message))
}

function findCosignProblems(url: string, verify: RepositoryVerification): FieldProblem[] {
  if (!isOciAddress(url))
    return at('spec.verify', 'is for Git repositories and OCI registries; an index.yaml is signed by nobody')
  const { cosignKeys, cosignKeysFrom } = verify
  const given = (['allowedSigners', 'allowedSignersFrom', 'gpgKeys', 'gpgKeysFrom'] as const).filter(
    (name) => verify[name] !== '',
  )
  if (cosignKeys.trim() === '' && cosignKeysFrom === '' && given.length === 0) {
    return at('spec.verify', 'names no key: give cosignKeys, or where they are in cosignKeysFrom')
  }
  return [
    ...given.flatMap((name) => at(`spec.verify.${name}`, 'is for commits; OCI artifacts are signed by cosignKeys')),
    ...at(
      'spec.verify.cosignKeys',
      cosignKeys.trim() === '' ? undefined : messageOf(() => parseCosignKeys(cosignKeys)),
    ),
    ...at('spec.verify.cosignKeysFrom', cosignKeysFrom === '' ? undefined : findCredentialsProblem(cosignKeysFrom)),
  ]
}

function findSignersProblem(text: string): string | undefined {
  return messageOf(() => parseAllowedSigners(text))
}

/** What is thrown; undefined when nothing is. */
function messageOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function findGpgKeysProblem(text: string): string | undefined {
  if (text.trim() === '') return undefined
  if (text.includes('PRIVATE KEY BLOCK')) return 'holds a private key: export the public one, and replace this one'
  return PGP_BLOCK.test(text) ? undefined : 'is no armoured OpenPGP public key: use gpg --armor --export'
}

/** What is allowed but probably not meant. */
export function findRepositoryWarnings(spec: RepositorySpec): string[] {
  const scheme = ['http://', 'oci+http://'].find((each) => spec.url.startsWith(each))
  if (scheme === undefined) return []
  const both = spec.credentials ? ' and sends the credentials in the clear' : ''
  return [`spec.url: ${scheme} lets anybody on the way change what the clusters run${both}`]
}

function findUrlProblem(text: string): string | undefined {
  if (text === '') return 'is missing: the https://, http:// or ssh:// address of the repository'
  if (text.length > MAX_URL_LENGTH) return `is longer than ${MAX_URL_LENGTH} characters`
  const url = URL.parse(text)
  // Never repeats the address: it may hold a password.
  if (!url) return 'is not an address: write https://<host>/<path>'
  if (url.protocol === 'ssh:') return 'is no address of SSH: write ssh://<user>@<host>/<path> or <user>@<host>:<path>'
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `must begin with https://, http:// or ssh://, not ${url.protocol}//`
  }
  if (url.username !== '' || url.password !== '') return 'must hold no user or password: use spec.credentials'
  if (url.hash !== '' || url.search !== '') return 'must have no "?" and no "#"'
  return undefined
}

function findPollIntervalProblem({ pollInterval }: RepositorySpec): string | undefined {
  if (!pollInterval) return undefined
  const ms = durationMs(pollInterval)
  return ms < POLL_INTERVAL_MS.min || ms > POLL_INTERVAL_MS.max ? 'must be between 1s and 24h' : undefined
}

function findCredentialsProblem(from: string): string | undefined {
  if (/^file:\/[^\0]+$/.test(from) || /^env:[A-Za-z_][A-Za-z0-9_]*$/.test(from)) return undefined
  if (findSecretKey(from)) return undefined
  if (from === '')
    return 'is missing: file:<absolute path>, env:<NAME> or secret:<namespace>/<name>#<key>, as the hub finds it'
  // Never repeats it: somebody may have written the token itself.
  return 'must be file:<absolute path>, env:<NAME> or secret:<namespace>/<name>#<key>, as the hub finds it; never the secret itself'
}

function findCaProblem(pem: string): string | undefined {
  if (pem === '') return undefined
  const blocks = pem.match(PEM_BLOCK) ?? []
  if (blocks.length === 0) return 'is not a PEM certificate'
  return blocks.every(isCertificate) ? undefined : 'holds a certificate that cannot be read'
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}
