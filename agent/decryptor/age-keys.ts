// The age keys of this cluster: in Secrets of the agent's own namespace, and nowhere else.
import { AppError } from '@fairlead/shared/errors'
import { SECRETS } from '../kube/core-kinds.ts'
import type { Kube } from '../kube/kube.ts'
import { KubeError } from '../kube/kube-error.ts'
import type { SealedKey } from './sops.ts'

/** On Secrets that hold age keys: `fairlead.dev/sops-age: "true"`. */
export const AGE_LABEL = 'fairlead.dev/sops-age'
/** Annotation on such a Secret: names of the applications, by commas, that its keys are for. Without it: all. */
export const AGE_APPLICATIONS_ANNOTATION = 'fairlead.dev/sops-applications'

const IDENTITY = /^AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{10,5000}$/

/** Where the keys are. */
export interface AgeKeysOptions {
  readonly kube: Kube
  /** The agent's own namespace. */
  readonly namespace: string
  /** Name of the one Secret to use; undefined: all with AGE_LABEL. */
  readonly secret: string | undefined
}

interface Key {
  readonly identity: string
  readonly recipient: string
}

/** The keys that one application may use, as they were when they were read. */
export class AgeKeys {
  readonly #keys: readonly Key[]
  readonly #where: string

  private constructor(keys: readonly Key[], where: string) {
    this.#keys = keys
    this.#where = where
  }

  /** Reads the keys. Throws DecryptionFailed when the agent may not, ApiServerUnavailable and Aborted. */
  static async read(options: AgeKeysOptions, application: string, signal: AbortSignal): Promise<AgeKeys> {
    const { namespace, secret } = options
    const where = secret === undefined ? `Secrets with the label ${AGE_LABEL}` : `Secret ${secret}`
    const place = `${where} in namespace ${namespace}`
    return await AgeKeys.of(await readIdentities(options, { application, place, signal }), place)
  }

  /** Keys out of identities, `AGE-SECRET-KEY-1...`; `place` is where they come from, for messages. Throws DecryptionFailed when one is not valid. */
  static async of(identities: readonly string[], place: string): Promise<AgeKeys> {
    // Loaded only where something is encrypted: it takes 15 MB.
    const { identityToRecipient } = await import('age-encryption')
    const keys: Key[] = []
    for (const identity of identities) {
      try {
        keys.push({ identity, recipient: await identityToRecipient(identity) })
      } catch {
        throw new AppError('DecryptionFailed', `${place}: one of the keys is not valid`)
      }
    }
    return new AgeKeys(keys, place)
  }

  /** Opens a data key that is encrypted for one of the keys. Throws DecryptionFailed. */
  async open(sealed: readonly SealedKey[]): Promise<Uint8Array> {
    const { Decrypter, armor } = await import('age-encryption')
    let altered: string | undefined
    for (const { recipient, enc } of sealed) {
      const key = this.#keys.find((one) => one.recipient === recipient)
      if (!key) continue
      try {
        const decrypter = new Decrypter()
        decrypter.addIdentity(key.identity)
        const opened = await decrypter.decrypt(armor.decode(enc))
        if (opened.length === 32) return opened
      } catch {
        // Another one may do.
      }
      altered ??= recipient
    }
    if (altered !== undefined) {
      throw new AppError('DecryptionFailed', `its data key for ${altered} cannot be opened: it was altered`)
    }
    const wanted = sealed.map(({ recipient }) => recipient.slice(0, 80)).join(', ')
    const message = `it is encrypted for ${wanted}, and none of the ${this.#keys.length} keys in ${this.#where} is one of these`
    throw new AppError('DecryptionFailed', message)
  }
}

interface SecretBody {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> }
  readonly data?: Readonly<Record<string, string>>
}

async function readIdentities(
  { kube, namespace, secret }: AgeKeysOptions,
  { application, place, signal }: { application: string; place: string; signal: AbortSignal },
): Promise<string[]> {
  try {
    const found = secret === undefined ? undefined : await kube.get(SECRETS, { name: secret, namespace }, { signal })
    const secrets =
      secret === undefined
        ? (await kube.list(SECRETS, { namespace, labelSelector: `${AGE_LABEL}=true`, signal })).items
        : found
          ? [found]
          : []
    return (secrets as readonly SecretBody[]).filter((one) => isFor(one, application)).flatMap(identitiesOf)
  } catch (error) {
    if (!(error instanceof KubeError) || error.kind === 'transient') throw error
    throw new AppError('DecryptionFailed', `the agent cannot read ${place}: ${error.message}`, { cause: error })
  }
}

function isFor({ metadata }: SecretBody, application: string): boolean {
  const names = metadata.annotations?.[AGE_APPLICATIONS_ANNOTATION]
  return names === undefined || names.split(',').some((name) => name.trim() === application)
}

/** Key files have one key a line, and comments; a Secret may hold several. */
function identitiesOf({ data = {} }: SecretBody): string[] {
  return Object.values(data).flatMap((value) => {
    const lines = Buffer.from(value, 'base64').toString('utf8').split('\n')
    return lines.map((line) => line.trim()).filter((line) => IDENTITY.test(line))
  })
}
