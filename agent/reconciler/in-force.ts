// What an application was brought to last, written down so that its objects can be declared again after a restart while
// a newer revision is held back: the artifact with its key, and what else decides what is declared.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type ArtifactReference, type DesiredApplication, DesiredApplicationSchema } from '@fairlead/proto/slice'
import { toAppError } from '@fairlead/shared/errors'
import type { ReconcilerContext } from './context.ts'
import { declareArtifact, type LoadedManifests } from './load-declared.ts'
import type { DesiredTarget } from './target.ts'

/** The revision that passed last. */
export class InForce {
  #text: string
  #desired: DesiredApplication | undefined
  #variables: Readonly<Record<string, string>> = {}

  /** `text` is as the inventory has it; empty while nothing is known. What cannot be read is not known. */
  constructor(text = '') {
    this.#text = text
    if (text === '') return
    try {
      const [desired, variables] = JSON.parse(text) as [string, Record<string, string>]
      this.#desired = fromBinary(DesiredApplicationSchema, Buffer.from(desired, 'base64'))
      this.#variables = variables
    } catch {
      this.#text = ''
    }
  }

  /** As the inventory is to have it. */
  toString(): string {
    return this.#text
  }

  /** The artifact; undefined while that is not known. */
  get artifact(): ArtifactReference | undefined {
    return this.#desired?.artifact
  }

  /** What it declares, out of what is kept in the cluster; undefined when it cannot be had. Throws ApiServerUnavailable or Aborted. */
  async declare(
    context: ReconcilerContext,
    application: string,
    signal: AbortSignal,
  ): Promise<LoadedManifests['declared'] | undefined> {
    const { artifact: reference, policy } = this.#desired ?? {}
    if (!reference || !policy) return undefined
    try {
      const artifact = await context.artifacts.findKept(reference, signal)
      if (!artifact) return undefined
      const variables = new Map(Object.entries(this.#variables))
      const { declared } = await declareArtifact(context, artifact, { application, policy, variables, signal })
      return declared
    } catch (thrown) {
      const error = toAppError(thrown)
      if (error.kind === 'transient' || signal.aborted) throw error
      context.logger.warn({ application, error }, 'what is in force cannot be declared again')
      return undefined
    }
  }
}

/** What is brought into force by a target. */
export function inForceOf(
  { artifact, policy, variables }: DesiredTarget,
  { variables: used }: LoadedManifests,
): InForce {
  const { namespace, substitute, ignoreFields } = policy
  const desired = create(DesiredApplicationSchema, { artifact, policy: { namespace, substitute, ignoreFields } })
  const values = [...used].sort().flatMap((name) => {
    const value = variables.get(name)
    return value === undefined ? [] : [[name, value] as const]
  })
  const encoded = Buffer.from(toBinary(DesiredApplicationSchema, desired)).toString('base64')
  return new InForce(JSON.stringify([encoded, Object.fromEntries(values)]))
}
