// What the hub tells a Git server of itself: the Authorization header, out of what the definition names.
import { readSecret, type SecretSources } from '../secret-source.ts'

/** The Authorization header for credentials `file:<path>` or `env:<NAME>`, whose content is a token or user:password. Throws RepositoryAuthFailed as readSecret does. */
export function readAuthorization(from: string, sources: SecretSources): string {
  const content = readSecret(from, sources)
  // GitHub, GitLab, Gitea and Bitbucket take any token as the password of this user.
  return basicAuthorization(content.includes(':') ? content : `x-access-token:${content}`)
}

/** The header for user:password. */
export function basicAuthorization(pair: string): string {
  return `Basic ${Buffer.from(pair).toString('base64')}`
}
