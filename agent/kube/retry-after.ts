// The header Retry-After of an answer (RFC 9110, section 10.2.3); pure.

/** Longest wait that is believed, in ms: an hour off in the server's clock must not silence an object for a day. */
const BELIEVED_MAX_MS = 10 * 60_000

/** Milliseconds to wait from now: seconds or an HTTP date; undefined when the header is missing or neither. Never negative, at most 10 minutes. */
export function parseRetryAfterMs(
  header: string | readonly string[] | undefined,
  nowMs: number = Date.now(),
): number | undefined {
  if (typeof header !== 'string') return undefined
  const text = header.trim()
  if (/^\d{1,9}$/.test(text)) return Math.min(BELIEVED_MAX_MS, Number(text) * 1000)
  // Only the forms of an HTTP date begin with the name of a day; Date.parse alone would take "-1" for a year.
  const atMs = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(atMs) ? undefined : Math.min(BELIEVED_MAX_MS, Math.max(0, atMs - nowMs))
}
