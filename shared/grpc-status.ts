// AppErrors over gRPC: the status code for every caller, and in trailers the error code of the closed list and each single problem.
import * as grpc from '@grpc/grpc-js'
import { AppError, type ErrorCode, type ErrorContext, isErrorCode, toAppError } from './errors.ts'

/** Trailer with the error's code out of the closed list. */
export const CODE_TRAILER = 'fairlead-code'
/** Trailer with the error's problems: a JSON list of ErrorDetail in UTF-8. */
export const PROBLEMS_TRAILER = 'fairlead-problems-bin'

// Headers are limited to 16 KB in all by Node's HTTP/2 and the text is percent-encoded: what does not fit is counted, not sent.
const MAX_TEXT_BYTES = 3_000
const MAX_PROBLEMS_BYTES = 4_000

/** One of several things that are wrong with a request. */
export interface ErrorDetail extends ErrorContext {
  /** One sentence for people, without the place. */
  readonly message: string
}

/** An error that consists of several problems. Its message lists all of them, one a line. */
export class ProblemsError extends AppError {
  readonly problems: readonly ErrorDetail[]

  constructor(code: ErrorCode, problems: readonly ErrorDetail[]) {
    super(code, problems.map(formatErrorDetail).join('\n'), problems[0] ? { context: problems[0] } : {})
    this.problems = problems
  }
}

/** `apps.yaml:12: Application/web: spec.source.path: must not be absolute`, with what is known. */
export function formatErrorDetail({ file, line, object, field, message }: ErrorDetail): string {
  const place = file === undefined || file === '' ? undefined : line ? `${file}:${line}` : file
  return [place, object, field, message].filter((part) => part !== undefined && part !== '').join(': ')
}

const STATUS: Partial<Record<ErrorCode, grpc.status>> = {
  InvalidArgument: grpc.status.INVALID_ARGUMENT,
  NotFound: grpc.status.NOT_FOUND,
  AlreadyExists: grpc.status.ALREADY_EXISTS,
  FailedPrecondition: grpc.status.FAILED_PRECONDITION,
  Unauthenticated: grpc.status.UNAUTHENTICATED,
  PermissionDenied: grpc.status.PERMISSION_DENIED,
  JoinTokenRefused: grpc.status.UNAUTHENTICATED,
  TooManyAttempts: grpc.status.RESOURCE_EXHAUSTED,
  IdentityRevoked: grpc.status.PERMISSION_DENIED,
  LimitExceeded: grpc.status.RESOURCE_EXHAUSTED,
  Aborted: grpc.status.CANCELLED,
}

/** The gRPC status of an error: its own, else UNAVAILABLE for what passes, FAILED_PRECONDITION for what the user must change, INTERNAL for a defect, of which the caller learns nothing more. */
export function toGrpcStatus(error: unknown): Partial<grpc.StatusObject> {
  const appError = toAppError(error)
  const metadata = new grpc.Metadata()
  metadata.set(CODE_TRAILER, appError.code)
  if (appError.kind === 'bug') {
    return { code: grpc.status.INTERNAL, details: 'a defect in the hub; its log has more', metadata }
  }
  const problems = appError instanceof ProblemsError ? appError.problems : []
  if (problems.length > 0) metadata.set(PROBLEMS_TRAILER, encodeProblems(problems))
  const otherwise = appError.kind === 'transient' ? grpc.status.UNAVAILABLE : grpc.status.FAILED_PRECONDITION
  return { code: STATUS[appError.code] ?? otherwise, details: shorten(appError.message), metadata }
}

/** What the trailers of a failed call say; no code and no problems when it did not come from a hub. */
export function readGrpcError(error: grpc.ServiceError): { code: ErrorCode | undefined; problems: ErrorDetail[] } {
  const code = String(error.metadata?.get(CODE_TRAILER)[0] ?? '')
  const [encoded] = error.metadata?.get(PROBLEMS_TRAILER) ?? []
  return { code: isErrorCode(code) ? code : undefined, problems: encoded === undefined ? [] : decodeProblems(encoded) }
}

function encodeProblems(problems: readonly ErrorDetail[]): Buffer {
  const fitting = [...problems]
  let encoded = Buffer.from(JSON.stringify(fitting))
  while (encoded.length > MAX_PROBLEMS_BYTES && fitting.length > 0) {
    fitting.length = Math.min(fitting.length - 1, Math.ceil(fitting.length * 0.8))
    const more = { message: `and ${problems.length - fitting.length} more problems` }
    encoded = Buffer.from(JSON.stringify([...fitting, more]))
  }
  return encoded
}

function decodeProblems(encoded: grpc.MetadataValue): ErrorDetail[] {
  try {
    const decoded: unknown = JSON.parse(encoded.toString())
    return Array.isArray(decoded) ? decoded.filter((item) => typeof item?.message === 'string') : []
  } catch {
    return []
  }
}

/** Cuts a text at whole lines, by the size it has when percent-encoded. */
function shorten(text: string): string {
  const size = (part: string): number => encodeURIComponent(part.toWellFormed()).length
  if (size(text) <= MAX_TEXT_BYTES) return text
  const lines = text.split('\n')
  const kept: string[] = []
  let total = 0
  for (const line of lines) {
    total += size(line) + 3
    if (total > MAX_TEXT_BYTES) break
    kept.push(line)
  }
  if (kept.length === 0) return `${text.slice(0, 300)}…`
  return [...kept, `and ${lines.length - kept.length} more lines`].join('\n')
}
