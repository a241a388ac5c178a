// What an API server's refusal means: its Status as the one error type, never with the content of a Secret.
import { AppError, type ErrorCode, type ErrorContext } from '@fairlead/shared/errors'

/** One fault that the API server finds. */
export interface StatusCause {
  /** Such as FieldValueInvalid or NamespaceTerminating. */
  readonly reason: string
  readonly message: string
  /** Such as spec.ports[0].port. */
  readonly field: string
}

/** A Status object, as far as it is read. */
export interface Status {
  /** HTTP status. */
  readonly status: number
  readonly reason: string
  readonly message: string
  readonly causes: readonly StatusCause[]
  /** Resource that the Status speaks of, in plural. */
  readonly subject: string
  /** After how many ms the API server wants to be asked again. */
  readonly retryAfterMs?: number
}

/** What was asked. */
export interface Asked {
  /** For the error's context. */
  readonly object?: string | undefined
  /** The body was a Secret: nothing of what the API server quotes from it may be shown. */
  readonly isSecret?: boolean
  /** It held values that were decrypted: neither may they, wherever they stand. */
  readonly sensitive?: boolean
}

const MESSAGE_MAX = 1024

/** The API server refused. The code is what to do about it; status, reason and causes are what the API server said. */
export class KubeError extends AppError {
  /** HTTP status. */
  readonly status: number
  /** Reason of the Status, such as NotFound, AlreadyExists, Conflict, Expired, Forbidden, Invalid. */
  readonly reason: string
  readonly causes: readonly StatusCause[]
  /** After how many ms the API server wants to be asked again; undefined when it does not say. */
  readonly retryAfterMs: number | undefined

  constructor(status: Status, asked: Asked = {}) {
    const context: ErrorContext = asked.object === undefined ? {} : { object: asked.object }
    const code = codeOf(status)
    const isSealed = asked.isSecret === true || asked.sensitive === true
    super(code, shorten(isSealed ? redact(status, code, asked) : status.message), { context })
    this.status = status.status
    this.reason = status.reason
    this.retryAfterMs = status.retryAfterMs
    this.causes = isSealed
      ? status.causes.map((cause) => ({ ...cause, field: fieldOf(cause.field, asked), message: '' }))
      : status.causes
  }
}

/** True for a KubeError with that HTTP status. */
export function isStatus(error: unknown, status: number): error is KubeError {
  return error instanceof KubeError && error.status === status
}

/** True when a watch or a list cannot be continued from where it was. */
export function isExpired(error: unknown): boolean {
  return isStatus(error, 410) || (error instanceof KubeError && error.reason === 'Expired')
}

/** Reads an answer of 400 and above, or the object of an ERROR event. Answers of proxies and webhooks need not be a Status. */
export function parseStatus(httpStatus: number, body: unknown): Status {
  const fields = isRecord(body) ? body : {}
  const details = isRecord(fields.details) ? fields.details : {}
  const causes = Array.isArray(details.causes) ? details.causes.filter(isRecord) : []
  const fallback =
    typeof body === 'string' && body.trim() !== '' ? body.trim() : `the API server answered ${httpStatus}`
  const retryAfterSeconds = typeof details.retryAfterSeconds === 'number' ? details.retryAfterSeconds : undefined
  return {
    status: typeof fields.code === 'number' && fields.code >= 400 ? fields.code : httpStatus,
    reason: textOf(fields.reason),
    message: textOf(fields.message) || fallback,
    causes: causes.map((cause) => ({
      reason: textOf(cause.reason),
      message: textOf(cause.message),
      field: textOf(cause.field),
    })),
    subject: textOf(details.kind),
    ...(retryAfterSeconds !== undefined && { retryAfterMs: retryAfterSeconds * 1000 }),
  }
}

// The API server has no reasons of its own for these; the words are those of Kubernetes 1.31 to 1.36.
const WEBHOOK = /admission webhook|failed calling webhook|ValidatingAdmissionPolicy|denied (the )?request/
const NO_PERMISSION = /cannot [a-z]+ resource|attempting to grant RBAC permissions/
/** 403 for what may be otherwise in a moment. */
const NOT_NOW =
  /exceeded quota|failed quota|status unknown for quota|insufficient quota|being terminated|definition is terminating|error looking up service account/
const IMMUTABLE =
  /is immutable|may not (be )?change|cannot (be )?change|(can ?not|may not|must not) be (updated|changed|modified)|updates to .* are forbidden|may not be unset|cannot be removed once set/i
/** Faults of the object that come as a bare 500: server-side apply cannot read it. */
const UNREADABLE =
  /failed to create typed patch object|failed to convert new object|error decoding|field not declared in schema|request is too large|larger than max/

/** The error code of a refusal. */
function codeOf({ status, reason, message, causes, subject }: Status): ErrorCode {
  const isTerminating = causes.some((cause) => cause.reason === 'NamespaceTerminating')
  switch (status) {
    case 401: // The token is being replaced, or the clock is off.
      return 'ApiServerUnavailable'
    case 403:
      if (NO_PERMISSION.test(message)) return 'ApplyForbidden'
      return isTerminating || WEBHOOK.test(message) || NOT_NOW.test(message) ? 'ApplyRefused' : 'ApplyForbidden'
    case 404:
      if (subject === 'namespaces' || /^namespaces "/.test(message)) return 'NamespaceNotFound'
      return /could not find the requested resource|page not found/.test(message) ? 'UnknownKind' : 'NotFound'
    case 409:
      return reason === 'AlreadyExists' ? 'AlreadyExists' : 'ApplyConflict'
    case 410:
    case 429:
      return 'ApiServerUnavailable'
    case 422:
      if (WEBHOOK.test(message)) return 'ApplyRefused'
      return IMMUTABLE.test(message) ? 'ImmutableField' : 'ApplyInvalid'
    default:
      if (WEBHOOK.test(message)) return 'ApplyRefused'
      return status >= 500 && !UNREADABLE.test(message) ? 'ApiServerUnavailable' : 'ApplyInvalid'
  }
}

/** Messages about an invalid Secret quote from it (decoders, typed patches and webhooks do): say where, not what. */
function redact(status: Status, code: ErrorCode, asked: Asked): string {
  const { message, reason, causes } = status
  const quotes = status.status >= 500 || code === 'ApplyInvalid' || code === 'ImmutableField' || code === 'ApplyRefused'
  if (!quotes || (status.status === 403 && !WEBHOOK.test(message))) return message
  const typed = /: (\.[^:]{1,500}): (expected [a-z]+|field not declared in schema|duplicate entries)/.exec(message)
  const fields = [...new Set(causes.map((cause) => fieldOf(cause.field, asked)).filter((field) => field !== ''))]
  const named = fields.length === 0 ? '' : `: ${fields.join(', ')}`
  const where = typed ? `: ${fieldOf(typed[1] ?? '', asked)}: ${typed[2]}` : named
  const webhook = /webhook "([^"]{1,253})"/.exec(message)?.[1]
  const by = webhook === undefined ? 'the API server' : `admission webhook "${webhook}"`
  return `${by} refuses the ${asked.isSecret ? 'Secret' : 'encrypted object'} (${status.status}${reason === '' ? '' : ` ${reason}`})${where}`
}

/** Items of lists are named by values of theirs, which may have been decrypted, and may hold brackets: from the first that is no position to the last, nothing is shown. */
function fieldOf(field: string, { sensitive = false }: Asked): string {
  return sensitive ? field.replace(/\[(?!\d+\])(?:.*\]|.*$)/s, '[…]') : field
}

/** Keeps both ends: what is refused stands at the beginning, and why at the end. */
function shorten(message: string): string {
  const tail = MESSAGE_MAX / 4
  if (message.length <= MESSAGE_MAX) return message
  return `${message.slice(0, MESSAGE_MAX - tail - 3)} … ${message.slice(-tail)}`
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
