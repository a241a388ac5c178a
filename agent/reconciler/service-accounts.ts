// The rights of applications: one that names a service account is written for with that account's rights, never with the
// agent's own. The API server lets one impersonate accounts that do not exist, so that they do is looked up before use.
import { AppError } from '@fairlead/shared/errors'
import { SERVICE_ACCOUNTS } from '../kube/core-kinds.ts'
import type { Kube } from '../kube/kube.ts'

/** An account that was there is trusted for so long, in milliseconds: one that is deleted stops writing within that time. */
const TRUST_MS = 1_000

/** What accounts need. */
export interface ServiceAccountsOptions {
  readonly kube: Kube
  /** `namespace/name` of the account of an application; empty for the agent's own. */
  readonly accountOf: (application: string) => string
  readonly signal: AbortSignal
}

interface Known {
  readonly kube: Kube
  seenAtMs: number
  looking: Promise<void> | undefined
}

/** Access to the API server with the rights that an application has. */
export class ServiceAccounts {
  readonly #options: ServiceAccountsOptions
  readonly #known = new Map<string, Known>()

  constructor(options: ServiceAccountsOptions) {
    this.#options = options
  }

  /** The access of an application. Throws ServiceAccountMissing, or as Kube does when that cannot be told. */
  async kubeFor(application: string): Promise<Kube> {
    const account = this.#options.accountOf(application)
    if (account === '') return this.#options.kube
    const known = this.#known.get(account) ?? this.#remember(account)
    if (performance.now() - known.seenAtMs < TRUST_MS) return known.kube
    known.looking ??= this.#look(account, known).finally(() => {
      known.looking = undefined
    })
    await known.looking
    return known.kube
  }

  #remember(account: string): Known {
    const [namespace = '', name = ''] = account.split('/')
    const kube = this.#options.kube.impersonate({ namespace, name })
    const known = { kube, seenAtMs: Number.NEGATIVE_INFINITY, looking: undefined }
    this.#known.set(account, known)
    return known
  }

  async #look(account: string, known: Known): Promise<void> {
    const [namespace = '', name = ''] = account.split('/')
    const { kube, signal } = this.#options
    const atMs = performance.now()
    const found = await kube.get(SERVICE_ACCOUNTS, { namespace, name }, { metadataOnly: true, signal })
    if (!found || found.metadata.deletionTimestamp !== undefined) {
      known.seenAtMs = Number.NEGATIVE_INFINITY
      throw new AppError(
        'ServiceAccountMissing',
        `there is no service account ${account}; nothing is done in its place`,
      )
    }
    known.seenAtMs = atMs
  }
}
