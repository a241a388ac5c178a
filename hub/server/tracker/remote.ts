// Where a repository is and how to get in, out of its definition: secrets are read each time.
import type { RepositorySpec } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { readSecret, readSecretText, type SecretSources } from '../secret-source.ts'
import { findSshAddress, knownHostName } from '../ssh-address.ts'
import { readAuthorization } from './credentials.ts'
import type { GitRemote, ProxySettings } from './git-http.ts'
import type { InstallationTokens } from './github-app.ts'
import type { MissingSubmodule } from './submodules.ts'

/** What remotes are made with. */
export interface RemoteContext {
  /** What secrets may name. */
  readonly secrets: SecretSources
  readonly tokens: InstallationTokens
  /** For repositories that say nothing of a proxy. */
  readonly proxy: ProxySettings
}

/** The remote of a repository. Rejects with RepositoryAuthFailed when a secret cannot be read, or as InstallationTokens.authorize does. */
export async function readRemote(
  { url, credentials, caPem: ca, redirectHosts, proxy: ownProxy, ssh }: RepositorySpec,
  { secrets: sources, tokens, proxy: proxyDefault }: RemoteContext,
): Promise<GitRemote> {
  if (findSshAddress(url)) {
    if (!ssh) throw new AppError('InvalidArgument', 'spec.ssh is missing: known hosts and a key')
    return { url, ssh: { knownHosts: ssh.knownHosts, privateKey: await readSecretText(ssh.privateKeyFrom, sources) } }
  }
  const caPem = ca || undefined
  const proxy = ownProxy ? await readProxy(ownProxy.url, ownProxy.credentials?.from, sources) : proxyDefault
  const way = { caPem, proxy }
  const authorization = credentials?.githubApp
    ? await tokens.authorize(credentials.githubApp, sources, way)
    : credentials && (await readAuthorization(credentials.from, sources))
  return { url, authorization, caPem, redirectHosts, proxy }
}

/** Where a submodule is fetched from: as the repository itself on the same host, without any login on a declared one. Throws UnsafePath for others. */
export function remoteOfSubmodule(
  own: GitRemote,
  { url, path }: MissingSubmodule,
  hosts: readonly string[],
): GitRemote {
  const refuse = (why: string): never => {
    throw new AppError('UnsafePath', `${why}; the address of ${path} comes from .gitmodules`)
  }
  const ssh = findSshAddress(url)
  const web = ssh ? null : URL.parse(url)
  const isWeb = web?.protocol === 'https:' || web?.protocol === 'http:'
  if (!ssh && !isWeb) return refuse('only http://, https:// and ssh:// addresses are fetched')
  if (web && (web.username !== '' || web.password !== '')) return refuse('the address must hold no credentials')
  const place = ssh ? knownHostName(ssh) : (web?.host ?? '')
  const ownSsh = findSshAddress(own.url)
  const isOwn = ssh
    ? ownSsh !== undefined && knownHostName(ownSsh) === place
    : !ownSsh && URL.parse(own.url)?.host === place
  const isPlainer = web?.protocol === 'http:' && !own.url.startsWith('http:')
  if (isOwn && !isPlainer) return { ...own, url }
  if (isPlainer || ssh || !hosts.includes(place)) return refuse(`${place} is not declared in spec.submodules.hosts`)
  return { url, proxy: own.proxy, redirectHosts: own.redirectHosts }
}

async function readProxy(url: string, from: string | undefined, sources: SecretSources): Promise<ProxySettings> {
  if (url === '') return {}
  const address = URL.parse(url)
  if (address === null) throw new AppError('InvalidArgument', 'spec.proxy.url is no address')
  const [user = '', ...password] = from === undefined ? [] : (await readSecret(from, sources)).split(':')
  address.username = encodeURIComponent(user)
  address.password = encodeURIComponent(password.join(':'))
  return { HTTP_PROXY: address.href, HTTPS_PROXY: address.href }
}
