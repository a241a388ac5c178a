// What the hub tells a Git server of itself: the Authorization header, out of what the definition names.
import { readSecret, type SecretSources } from '../secret-source.ts'

/** The Authorization header for credentials `file:<path>`, `env:<NAME>` or `secret:<namespace>/<name>#<key>`, whose content is a token or user:password. Rejects as readSecret does. */
export async function readAuthorization(from: string, sources: SecretSources): Promise<string> {
  const content = await readSecret(from, sources)
  // GitHub, GitLab, Gitea and Bitbucket take any token as the password of this user.
  return basicAuthorization(content.includes(':') ? content : `x-access-token:${content}`)
}

/** The header for user:password. */
export function basicAuthorization(pair: string): string {
  return `Basic ${Buffer.from(pair).toString('base64')}`
}
