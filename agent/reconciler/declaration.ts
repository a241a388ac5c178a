// What an application declares: in force, or of a newer revision that is still held back. Manifests whose kind is not served
// and such that no key opens are looked at again, at a pace of their own.
import { backoffMs } from '@fairlead/shared/backoff'
import type { ReconcilerContext } from './context.ts'
import { declareArtifact, type LoadedManifests, resolveManifests } from './load-declared.ts'
import type { PassClock } from './pass-clock.ts'
import type { DesiredTarget } from './target.ts'

/** How soon and how seldom manifests of kinds that are not served are looked at again. */
const UNRESOLVED_RETRY = { baseMs: 250, maxMs: 60_000 }
/** How soon and how seldom manifests that no key opens are looked at again. */
const KEY_RETRY = { baseMs: 1_000, maxMs: 60_000 }

/** What one application declares. */
export class Declaration {
  readonly #application: string
  readonly #context: ReconcilerContext
  readonly #pass: PassClock
  #inForce: LoadedManifests | undefined
  /** What the newest revision declares, while it is not in force yet. */
  #candidate: LoadedManifests | undefined
  #unresolvedAttempts = 0
  #keyAttempts = 0
  /** When manifests that could not be decrypted are looked at again; Infinity when there are none. */
  #keyRetryAtMs = Infinity

  constructor(application: string, context: ReconcilerContext, pass: PassClock) {
    this.#application = application
    this.#context = context
    this.#pass = pass
  }

  /** Undefined while that is not known. */
  get inForce(): LoadedManifests | undefined {
    return this.#inForce
  }

  /** In force or held back; undefined while neither is known. */
  get known(): LoadedManifests | undefined {
    return this.#inForce ?? this.#candidate
  }

  /** Something else is declared from here on. */
  forget(): void {
    this.#inForce = undefined
    this.#candidate = undefined
  }

  /** A new target: the pace begins anew. */
  hurry(): void {
    this.#keyAttempts = 0
    this.hurryUnresolved()
  }

  /** Kinds came to be: manifests that wait for theirs are looked at again soon. */
  hurryUnresolved(): void {
    this.#unresolvedAttempts = 0
  }

  /** What the target declares, be it in force or not; kinds that were not served are looked up again. Throws as loadDeclared does. */
  async load(target: DesiredTarget, signal: AbortSignal): Promise<LoadedManifests> {
    const known = this.#keyRetryAtMs <= this.#context.clock() ? undefined : this.known
    const loaded = known ? await this.#resolveAgain(target, known) : await this.#loadAnew(target, signal)
    signal.throwIfAborted()
    if (this.#inForce) this.#inForce = loaded
    else this.#candidate = loaded
    // Others may wait to hear what this one declares.
    if (!known) for (const neighbour of this.#context.neighbours.values()) neighbour.nudge()
    return loaded
  }

  /** What was loaded has passed the gate. */
  bringIntoForce(loaded: LoadedManifests): void {
    this.#inForce = loaded
    this.#candidate = undefined
  }

  /** When manifests that no key opened are looked at again, in milliseconds since the epoch; Infinity for never. */
  get keyRetryAtMs(): number {
    return this.#keyRetryAtMs
  }

  /** After how many milliseconds manifests in force whose kind is not served are looked at again, longer each time; Infinity for never. */
  nextUnresolvedMs(): number {
    const isWaiting = this.#inForce !== undefined && this.#inForce.unresolved.length > 0
    return isWaiting ? backoffMs(this.#unresolvedAttempts++, UNRESOLVED_RETRY) : Infinity
  }

  async #loadAnew(target: DesiredTarget, signal: AbortSignal): Promise<LoadedManifests> {
    const { policy, variables } = target
    // Without NATS an artifact is waited for as long as it takes.
    const artifact = await this.#pass.patiently(this.#context.artifacts.load(target.artifact, signal))
    const options = { application: this.#application, policy, variables, signal }
    const loaded = await declareArtifact(this.#context, artifact, options)
    signal.throwIfAborted()
    const isLocked = loaded.refused.some(({ error }) => error.code === 'DecryptionFailed')
    this.#keyRetryAtMs = isLocked ? this.#context.clock() + backoffMs(this.#keyAttempts++, KEY_RETRY) : Infinity
    return loaded
  }

  async #resolveAgain({ policy }: DesiredTarget, loaded: LoadedManifests): Promise<LoadedManifests> {
    if (loaded.unresolved.length === 0) return loaded
    const parsed = loaded.unresolved.map((unresolved) => unresolved.parsed)
    // The pace is set here; what was remembered as unknown must be asked for again.
    for (const { group } of parsed) this.#context.kube.forgetDiscovery(group)
    const again = await resolveManifests(this.#context, this.#application, policy, parsed)
    const declared = new Map([...again.declared, ...loaded.declared])
    const hooks = new Map([...again.hooks, ...loaded.hooks])
    const leftAlone = new Set([...again.leftAlone, ...loaded.leftAlone])
    return { ...loaded, declared, hooks, leftAlone, unresolved: again.unresolved }
  }
}
