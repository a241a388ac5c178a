// Addresses of repositories that are reached by SSH, and the known_hosts that pins their servers. Pure.

/** Where an SSH server is. */
export interface SshAddress {
  readonly user: string
  /** Name or address, without brackets. */
  readonly host: string
  readonly port: number
}

// Nothing that begins with "-": ssh and git would take it for an option.
const USER = '[A-Za-z0-9_][A-Za-z0-9._-]{0,63}'
const HOST = '[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?'
const PATH = '[A-Za-z0-9_.~/+@%][A-Za-z0-9_.~/+@%-]{0,1023}'
const URL_FORM = new RegExp(`^ssh://(?:(${USER})@)?(${HOST}|\\[[0-9a-fA-F:]{2,45}\\])(?::(\\d{1,5}))?/(${PATH})$`)
const SCP_FORM = new RegExp(`^(?:(${USER})@)(${HOST}):(?!//)(${PATH})$`)
const KNOWN_HOST = /^(?:@(?:cert-authority|revoked) +)?[^\s#@][^\s]* +[a-z0-9@.-]+ +[A-Za-z0-9+/=]+(?: .*)?$/

/** The server of `ssh://[user@]host[:port]/path` or `user@host:path`; undefined for anything else, and for what git or ssh could misread. */
export function findSshAddress(address: string): SshAddress | undefined {
  const match = URL_FORM.exec(address)
  if (match !== null) {
    const [, user = 'git', host = '', port = '22'] = match
    const number = Number(port)
    return number > 0 && number < 65_536 ? { user, host: host.replace(/^\[|\]$/g, ''), port: number } : undefined
  }
  const [, user, host] = SCP_FORM.exec(address) ?? []
  return user === undefined || host === undefined ? undefined : { user, host, port: 22 }
}

/** The number of the first line that is none of a known_hosts file (sshd(8)); 0 when there is no key at all; undefined when all is well. */
export function findKnownHostsProblem(text: string): number | undefined {
  const lines = text.split('\n').map((line) => line.trim())
  const bad = lines.findIndex((line) => line !== '' && !line.startsWith('#') && !KNOWN_HOST.test(line))
  if (bad >= 0) return bad + 1
  return lines.some((line) => KNOWN_HOST.test(line)) ? undefined : 0
}

/** The name under which known_hosts has the server's key. */
export function knownHostName({ host, port }: SshAddress): string {
  return port === 22 ? host : `[${host}]:${port}`
}
