// The two calls an agent makes to the hub: join and renew. Imported only when needed, because gRPC costs memory that an
// agent has no other use for.
import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { create } from '@bufbuild/protobuf'
import {
  type Credentials,
  EnrolmentService,
  JoinRequestSchema,
  type JoinResponse,
  RenewRequestSchema,
} from '@fairlead/proto/enrolment'
import type { AgentFacts } from '@fairlead/proto/report'
import { joinProofBytes, renewProofBytes } from '@fairlead/shared/enrolment-proof'
import { AppError, type ErrorCode } from '@fairlead/shared/errors'
import { createClient } from '@fairlead/shared/grpc'
import type { Nkey } from '@fairlead/shared/nkey'
import { credentials as grpcCredentials, type ServiceError, status } from '@grpc/grpc-js'
import { splitAddress } from './ca-pin.ts'

const CALL_TIMEOUT_MS = 15_000

/** Where the hub is and which CA proves it. */
export interface HubEndpoint {
  /** host:port. */
  readonly address: string
  /** PEM of the pinned CA: the only root. */
  readonly caPem: string
}

/** Redeems a join token. Throws JoinTokenRefused, TooManyAttempts or Unavailable. */
export async function joinHub(
  endpoint: HubEndpoint,
  { token, key, facts }: { token: string; key: Nkey; facts: AgentFacts },
  signal: AbortSignal,
): Promise<JoinResponse> {
  const client = openClient(endpoint)
  try {
    const proof = key.sign(joinProofBytes(token, key.publicKey))
    const request = create(JoinRequestSchema, { token, publicKey: key.publicKey, proof, facts })
    return await client.join(request, { timeoutMs: CALL_TIMEOUT_MS, signal })
  } catch (error) {
    throw explain(error, endpoint.address, 'JoinTokenRefused')
  } finally {
    client.close()
  }
}

/** Gets a new user JWT for a key that has joined. Throws IdentityRevoked or Unavailable. */
export async function renewCredentials(
  endpoint: HubEndpoint,
  { clusterId, key }: { clusterId: string; key: Nkey },
  signal: AbortSignal,
): Promise<Credentials> {
  const client = openClient(endpoint)
  const options = { timeoutMs: CALL_TIMEOUT_MS, signal }
  try {
    const { challenge } = await client.getChallenge({ $typeName: 'fairlead.v1.GetChallengeRequest' }, options)
    const { publicKey } = key
    const proof = key.sign(renewProofBytes(clusterId, publicKey, challenge))
    const answer = await client.renew(create(RenewRequestSchema, { clusterId, publicKey, challenge, proof }), options)
    if (!answer.credentials) throw new AppError('Unavailable', `the hub at ${endpoint.address} sent no credentials`)
    return answer.credentials
  } catch (error) {
    throw explain(error, endpoint.address, 'IdentityRevoked')
  } finally {
    client.close()
  }
}

function openClient({ address, caPem }: HubEndpoint) {
  const { host } = splitAddress(address)
  // One call and then closed: nothing to share, and no retries behind our back.
  const options = { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0 }
  if (isIP(host) === 0) {
    return createClient(EnrolmentService, address, grpcCredentials.createSsl(Buffer.from(caPem)), options)
  }
  // An IP address may not be sent as the TLS server name (RFC 6066); the certificate must be for it nevertheless.
  const verify = { checkServerIdentity: (_name: string, leaf: PeerCertificate) => checkServerIdentity(host, leaf) }
  const credentials = grpcCredentials.createSsl(Buffer.from(caPem), null, null, verify)
  return createClient(EnrolmentService, address, credentials, {
    ...options,
    'grpc.ssl_target_name_override': 'fairlead-hub',
  })
}

/** What the hub's refusal means for the call; everything else is a hub that cannot be reached. */
function explain(error: unknown, address: string, refused: ErrorCode): AppError {
  if (error instanceof AppError) return error
  const { code, details, message } = error as ServiceError
  const because = details === undefined || details === '' ? message : details
  if (code === status.RESOURCE_EXHAUSTED) return new AppError('TooManyAttempts', `the hub at ${address}: ${because}`)
  // To a join: the key, not the token, is refused.
  if (code === status.PERMISSION_DENIED)
    return new AppError('IdentityRevoked', `the hub at ${address} refuses: ${because}`)
  const refusals: readonly number[] = [status.UNAUTHENTICATED, status.INVALID_ARGUMENT, status.NOT_FOUND]
  if (refusals.includes(code)) return new AppError(refused, `the hub at ${address} refuses: ${because}`)
  if (code === status.CANCELLED) return new AppError('Aborted', 'the call was given up', { cause: error })
  return new AppError('Unavailable', `the hub at ${address} cannot be reached: ${because}`, { cause: error })
}
