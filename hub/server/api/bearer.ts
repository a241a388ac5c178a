// Refuses every call without the administrator's bearer token, before its message is read.
import { createHash, timingSafeEqual } from 'node:crypto'
import { AppError } from '@fairlead/shared/errors'
import { toGrpcStatus } from '@fairlead/shared/grpc-status'
import * as grpc from '@grpc/grpc-js'

const REFUSED = new AppError('Unauthenticated', 'a valid bearer token is needed: the context of the CLI holds one')

/** Lets a call pass when its path begins with one of `openPaths` or it carries the token whose SHA-256 (hexadecimal) is given. */
export function requireBearer(tokenSha256: string, openPaths: readonly string[]): grpc.ServerInterceptor {
  const expected = Buffer.from(tokenSha256, 'hex')
  if (expected.length !== 32) throw new AppError('Internal', 'the hash of the administrator token is not a SHA-256')
  return (method, call) => {
    if (openPaths.some((path) => method.path.startsWith(path))) return new grpc.ServerInterceptingCall(call)
    return new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            if (isToken(metadata.get('authorization')[0], expected)) pass(metadata)
            else call.sendStatus(toGrpcStatus(REFUSED) as grpc.StatusObject)
          },
        }),
    })
  }
}

/** Compares hashes, in a time that says nothing of where they differ. */
function isToken(header: grpc.MetadataValue | undefined, expected: Buffer): boolean {
  const [, token] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(String(header ?? '')) ?? []
  return token !== undefined && timingSafeEqual(createHash('sha256').update(token).digest(), expected)
}
