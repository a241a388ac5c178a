// The two calls an agent makes to the hub: join and renew.
import { create } from '@bufbuild/protobuf'
import {
  type Credentials,
  EnrolmentService,
  GetChallengeRequestSchema,
  JoinRequestSchema,
  type JoinResponse,
  RenewRequestSchema,
} from '@fairlead/proto/enrolment'
import type { AgentFacts } from '@fairlead/proto/report'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { AppError, type ErrorCode } from '@fairlead/shared/errors'
import type { Nkey } from '@fairlead/shared/nkey'
import { GRPC_STATUS, type GrpcChannel, GrpcError, openGrpcChannel } from './grpc-unary.ts'

const CALL_TIMEOUT_MS = 15_000

/** Where the hub is and which CA proves it. */
export interface HubEndpoint {
  /** host:port. */
  readonly address: string
  /** PEM of the pinned CA: the only root. */
  readonly caPem: string
}

/** Redeems a join token. Throws JoinTokenRefused, IdentityRevoked (the key is refused), TooManyAttempts or Unavailable. */
export async function joinHub(
  endpoint: HubEndpoint,
  { token, key, facts }: { token: string; key: Nkey; facts: AgentFacts },
  signal: AbortSignal,
): Promise<JoinResponse> {
  return await withChannel(endpoint, 'JoinTokenRefused', async (channel) => {
    const proof = key.sign(joinProofBytes(token, key.publicKey))
    const request = create(JoinRequestSchema, { token, publicKey: key.publicKey, proof, facts })
    return await channel.call(EnrolmentService.method.join, request, { timeoutMs: CALL_TIMEOUT_MS, signal })
  })
}

/** Gets a new user JWT for a key that has joined. Throws IdentityRevoked or Unavailable. */
export async function renewCredentials(
  endpoint: HubEndpoint,
  { clusterId, key }: { clusterId: string; key: Nkey },
  signal: AbortSignal,
): Promise<Credentials> {
  const { getChallenge, renew } = EnrolmentService.method
  const options = { timeoutMs: CALL_TIMEOUT_MS, signal }
  const answer = await withChannel(endpoint, 'IdentityRevoked', async (channel) => {
    const { challenge } = await channel.call(getChallenge, create(GetChallengeRequestSchema), options)
    const { publicKey } = key
    const proof = key.sign(renewProofBytes(clusterId, publicKey, challenge))
    return await channel.call(renew, create(RenewRequestSchema, { clusterId, publicKey, challenge, proof }), options)
  })
  if (!answer.credentials) throw new AppError('Unavailable', `the hub at ${endpoint.address} sent no credentials`)
  return answer.credentials
}

async function withChannel<T>(
  { address, caPem }: HubEndpoint,
  refused: ErrorCode,
  use: (channel: GrpcChannel) => Promise<T>,
): Promise<T> {
  const channel = openGrpcChannel(address, caPem)
  try {
    return await use(channel)
  } catch (error) {
    throw explain(error, address, refused)
  } finally {
    channel.close()
  }
}

const REFUSALS: readonly number[] = [GRPC_STATUS.unauthenticated, GRPC_STATUS.invalidArgument, GRPC_STATUS.notFound]

/** What the hub's refusal means for the call; everything else is a hub that cannot be reached. */
function explain(error: unknown, address: string, refused: ErrorCode): AppError {
  if (!(error instanceof GrpcError)) throw error
  const { status, message } = error
  if (status === GRPC_STATUS.resourceExhausted) {
    return new AppError('TooManyAttempts', `the hub at ${address}: ${message}`)
  }
  // To a join: the key, not the token, is refused.
  if (status === GRPC_STATUS.permissionDenied) {
    return new AppError('IdentityRevoked', `the hub at ${address} refuses: ${message}`)
  }
  if (REFUSALS.includes(status)) return new AppError(refused, `the hub at ${address} refuses: ${message}`)
  return new AppError('Unavailable', `the hub at ${address} cannot be reached: ${message}`, { cause: error })
}
