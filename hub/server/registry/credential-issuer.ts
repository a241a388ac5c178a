// What the registry asks of the link to NATS.
import type { Credentials } from '@fairlead/proto/enrolment'

/** Makes and takes away what an agent needs to connect to NATS. */
export interface CredentialIssuer {
  /** Credentials for the key. Throws Unavailable while the link is not up. */
  issue(clusterId: string, publicKey: string): Promise<Credentials>
  /** Makes NATS refuse the key and disconnects whoever uses it. */
  revoke(publicKey: string): Promise<void>
}
