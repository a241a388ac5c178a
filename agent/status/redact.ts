// Takes out of a text what a support bundle must not hold. The bundle is made of data that has no secrets in it; this is
// the second lock: messages of others may quote what they were sent.

const LEFT_OUT = '<left out>'

/** Whatever looks like a key, a token or a certificate. */
const SECRETS: readonly RegExp[] = [
  /-----BEGIN [A-Z0-9 ]+-----[\s\S]*?(-----END [A-Z0-9 ]+-----|$)/g,
  // JSON Web Tokens, of Kubernetes and of NATS.
  /\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?/g,
  /\bBearer\s+\S+/gi,
  /\bflj_[\w-]+/g,
  /\bAGE-SECRET-KEY-(?:PQ-)?1\w+/g,
  // Seeds of nkeys.
  /\bS[ANCOUX][A-Z2-7]{54,}\b/g,
  /\b(gh[pousr]_|glpat-|xox[abp]-|AKIA)[\w-]{10,}/g,
  /([a-z][a-z0-9+.-]*:\/\/)[^\s/@:]+:[^\s/@]+@/gi,
]

/** API servers and webhooks quote the object after these words: nothing that follows is kept. */
const QUOTES =
  /((?:Invalid|Unsupported|Duplicate|Required) value|denied the request|expected [^,]{1,60}, got|error decoding)\b[\s\S]*/

/** Base64 that is long enough to be worth something. Digests are hexadecimal, and stay. */
const ENCODED = /\b[A-Za-z0-9+/_-]{32,}={0,2}/g

/** Makes a function that takes secrets out of any JSON value; `known` are secrets that this process knows. */
export function createRedactor(known: readonly (string | undefined)[]): <T>(value: T) => T {
  const exact = known.filter((secret) => secret !== undefined && secret.length >= 4) as string[]
  const redactText = (text: string): string => {
    let kept = text
    for (const secret of exact) kept = kept.replaceAll(secret, LEFT_OUT)
    for (const pattern of SECRETS) kept = kept.replaceAll(pattern, LEFT_OUT)
    kept = kept.replace(QUOTES, `$1: ${LEFT_OUT}`)
    return kept.replaceAll(ENCODED, (found) => (isHarmless(found) ? found : LEFT_OUT))
  }
  const redact = (value: unknown): unknown => {
    if (typeof value === 'string') return redactText(value)
    if (Array.isArray(value)) return value.map(redact)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [redactText(key), redact(inner)]))
  }
  return <T>(value: T): T => redact(value) as T
}

/** Digests, numbers, and names made of words: lower-case letters and hyphens in pieces, as Kubernetes names are. */
function isHarmless(text: string): boolean {
  if (/^[0-9a-f]+$/.test(text) || /^\d+$/.test(text)) return true
  return text
    .split(/[-_/]/)
    .every((piece) => /^([a-z]{0,24}\d{0,4}|[A-Z]?[a-z]{1,24}|[0-9a-f]{4,12}|[a-z0-9]{1,10})$/.test(piece))
}
