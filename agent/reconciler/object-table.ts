// All objects that the applications of this cluster own, and who else would like to have them.
import type { ObjectRecord } from './object-record.ts'

/** Records by object and by application; an object has one owner. */
export class ObjectTable {
  readonly #records = new Map<string, ObjectRecord>()
  readonly #byApplication = new Map<string, Map<string, ObjectRecord>>()
  /** Applications that declare an object that another one owns. */
  readonly #contesters = new Map<string, Set<string>>()

  /** The record of an object. */
  find(key: string): ObjectRecord | undefined {
    return this.#records.get(key)
  }

  /** The records that an application owns. */
  of(application: string): ObjectRecord[] {
    return [...(this.#byApplication.get(application)?.values() ?? [])]
  }

  /** All records. */
  all(): IterableIterator<ObjectRecord> {
    return this.#records.values()
  }

  /** Adds a record; one that is there already stays. */
  add(record: ObjectRecord): void {
    if (this.#records.has(record.key)) return
    this.#records.set(record.key, record)
    this.#owned(record.application).set(record.key, record)
  }

  /** Gives a record to another application. */
  move(record: ObjectRecord, application: string): void {
    this.#disown(record)
    record.application = application
    this.#owned(application).set(record.key, record)
  }

  /** Forgets a record. */
  remove(record: ObjectRecord): void {
    if (this.#records.get(record.key) !== record) return
    this.#records.delete(record.key)
    this.#disown(record)
  }

  /** Says which objects of others an application would like to have, replacing what it said before. */
  contest(application: string, keys: Iterable<string>): void {
    for (const [key, contesters] of this.#contesters) {
      contesters.delete(application)
      if (contesters.size === 0) this.#contesters.delete(key)
    }
    for (const key of keys) {
      const contesters = this.#contesters.get(key) ?? new Set()
      this.#contesters.set(key, contesters.add(application))
    }
  }

  /** Who else would like to have an object, sorted. */
  contesters(key: string): string[] {
    return [...(this.#contesters.get(key) ?? [])].sort()
  }

  #owned(application: string): Map<string, ObjectRecord> {
    const owned = this.#byApplication.get(application) ?? new Map<string, ObjectRecord>()
    this.#byApplication.set(application, owned)
    return owned
  }

  #disown(record: ObjectRecord): void {
    const owned = this.#byApplication.get(record.application)
    owned?.delete(record.key)
    if (owned?.size === 0) this.#byApplication.delete(record.application)
  }
}
