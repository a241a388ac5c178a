// The API server's own record of who asked for what: the proof that nothing was written, or nothing asked at all.

import { existsSync, readFileSync } from 'node:fs'

/** The verbs that change something. */
export const writeVerbs: readonly string[] = ['create', 'update', 'patch', 'delete', 'deletecollection']

/** One request. A watch counts once, from when it is opened. */
export type AuditEvent = {
  readonly auditID: string
  readonly verb: string
  readonly user: string
  /** Whose rights were used in place of the user's own; undefined when the user's own were. */
  readonly impersonatedUser: string | undefined
  readonly userAgent: string
  readonly requestURI: string
  readonly apiGroup: string
  /** The plural name of the resource, empty for a request that is not for an object. */
  readonly resource: string
  readonly subresource: string
  readonly namespace: string
  readonly name: string
  /** The HTTP status of the answer. */
  readonly code: number
  /** When the request arrived, in milliseconds since 1970 by the API server's clock. */
  readonly receivedAt: number
}

/** Which requests: every given field must agree. */
export type AuditFilter = {
  /** The whole user name, such as `system:serviceaccount:fairlead-system:fairlead-agent`. */
  readonly user?: string
  /** A part of the user agent. */
  readonly userAgent?: string
  readonly verbs?: readonly string[]
  readonly resource?: string
  readonly namespace?: string
  readonly name?: string
  /** Only requests that arrived at this time (ms since 1970, `Date.now()`) or later. */
  readonly since?: number
}

/** Metadata of every request, once it is answered (or, for a watch, opened). */
export const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata', omitManagedFields: true }],
}

/** Reads an audit log in the order in which requests were answered. A line still being written is left out. */
export function readAuditLog(file: string, filter: AuditFilter = {}): AuditEvent[] {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  const events = new Map<string, AuditEvent>()
  for (const line of text.slice(0, text.lastIndexOf('\n')).split('\n')) {
    if (line === '') continue
    const event = parseAuditEvent(line)
    if (!events.has(event.auditID) && matches(event, filter)) events.set(event.auditID, event)
  }
  return [...events.values()]
}

type RawEvent = {
  auditID: string
  verb: string
  user?: { username?: string }
  impersonatedUser?: { username?: string }
  userAgent?: string
  requestURI: string
  objectRef?: { apiGroup?: string; resource?: string; subresource?: string; namespace?: string; name?: string }
  responseStatus?: { code?: number }
  requestReceivedTimestamp: string
}

function parseAuditEvent(line: string): AuditEvent {
  const { auditID, verb, user, userAgent, requestURI, objectRef, responseStatus, ...raw } = JSON.parse(line) as RawEvent
  return {
    auditID,
    verb,
    user: user?.username ?? '',
    impersonatedUser: raw.impersonatedUser?.username,
    userAgent: userAgent ?? '',
    requestURI,
    apiGroup: objectRef?.apiGroup ?? '',
    resource: objectRef?.resource ?? '',
    subresource: objectRef?.subresource ?? '',
    namespace: objectRef?.namespace ?? '',
    name: objectRef?.name ?? '',
    code: responseStatus?.code ?? 0,
    receivedAt: Date.parse(raw.requestReceivedTimestamp),
  }
}

function matches(
  event: AuditEvent,
  { user, userAgent, verbs, resource, namespace, name, since }: AuditFilter,
): boolean {
  return (
    (user === undefined || event.user === user) &&
    (userAgent === undefined || event.userAgent.includes(userAgent)) &&
    (verbs === undefined || verbs.includes(event.verb)) &&
    (resource === undefined || event.resource === resource) &&
    (namespace === undefined || event.namespace === namespace) &&
    (name === undefined || event.name === name) &&
    (since === undefined || event.receivedAt >= since)
  )
}
