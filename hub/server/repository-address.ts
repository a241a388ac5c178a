// The one form in which the addresses of a repository are compared. Pure.

/** Host and path of an address, in lower case, without what differs between the ways to the same repository: scheme, user, port and `.git`. Undefined for what is no address. Takes http(s)://, ssh:// and git@host:path. */
export function addressKey(address: string): string | undefined {
  const scp = /^(?:[^@/:]+@)?([^@/:]+):(?!\/\/)(.+)$/.exec(address)
  const url = scp === null ? URL.parse(address) : URL.parse(`ssh://${scp[1]}/${scp[2]}`)
  if (url === null || url.hostname === '') return undefined
  const path = url.pathname
    .replace(/\/+/g, '/')
    .replace(/\/$/, '')
    .replace(/\.git$/i, '')
  return path === '' ? undefined : `${url.hostname}${path}`.toLowerCase()
}
