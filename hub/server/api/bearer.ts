// Refuses every call without the administrator's bearer token, before its message is read.
import { createHash, timingSafeEqual } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import { toGrpcStatus } from '@fairlead/shared/grpc-status'
import type { Logger } from '@fairlead/shared/logger'
import * as grpc from '@grpc/grpc-js'
import { AttemptLimiter, BEARER_LIMITS, peerHost } from '../attempt-limiter.ts'

const REFUSED = new AppError('Unauthenticated', 'a valid bearer token is needed: the context of the CLI holds one')

/** How calls are let in. */
export interface BearerOptions {
  /** SHA-256 of the token in hexadecimal. */
  readonly tokenSha256: string
  /** Calls whose path begins with one of these need no token. */
  readonly openPaths: readonly string[]
  readonly logger: Logger
}

/** The guard of the API. */
export interface BearerGuard {
  readonly interceptor: grpc.ServerInterceptor
  /** Calls with a wrong token since the start. */
  refused(): number
}

/** Makes the guard. A peer that tried many wrong tokens is refused whatever it sends, with TooManyAttempts, until a minute has passed; a call without any token is no try. */
export function createBearerGuard({ tokenSha256, openPaths, logger }: BearerOptions): BearerGuard {
  const expected = Buffer.from(tokenSha256, 'hex')
  if (expected.length !== 32) throw new AppError('Internal', 'the hash of the administrator token is not a SHA-256')
  const limiter = new AttemptLimiter(BEARER_LIMITS)
  let refused = 0
  const check = (header: grpc.MetadataValue | undefined, peer: string): AppError | undefined => {
    if (header === undefined) return REFUSED
    const waitMs = limiter.waitMs(peer, Date.now())
    if (waitMs === 0 && isToken(header, expected)) return undefined
    refused++
    if (waitMs > 0) return tooMany(waitMs)
    limiter.countWrong(peer, Date.now())
    logger.warn({ peer: peerHost(peer) }, 'bearer token refused')
    return REFUSED
  }
  const interceptor: grpc.ServerInterceptor = (method, call) => {
    if (openPaths.some((path) => method.path.startsWith(path))) return new grpc.ServerInterceptingCall(call)
    return new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            const refusal = check(metadata.get('authorization')[0], call.getPeer())
            if (refusal) call.sendStatus(toGrpcStatus(refusal) as grpc.StatusObject)
            else pass(metadata)
          },
        }),
    })
  }
  return { interceptor, refused: () => refused }
}

function tooMany(waitMs: number): AppError {
  return new AppError('TooManyAttempts', `too many wrong bearer tokens were tried; wait ${Math.ceil(waitMs / 1_000)} s`)
}

/** Compares hashes, in a time that says nothing of where they differ. */
function isToken(header: grpc.MetadataValue, expected: Buffer): boolean {
  const [, token] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(String(header)) ?? []
  return token !== undefined && timingSafeEqual(createHash('sha256').update(token).digest(), expected)
}
