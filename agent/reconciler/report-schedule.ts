// When an application's report is made and handed on: changes within a moment are told together, and only what differs
// from the last report is told at all.
import { equals } from '@bufbuild/protobuf'
import { type ApplicationReport, ApplicationReportSchema } from '@fairlead/proto/report'
import type { ReportSink } from '../desired-state.ts'
import type { Application } from './application.ts'
import { buildReport } from './application-report.ts'

/** A report of more objects is delayed by one millisecond for each of so many: it costs more to make. */
const OBJECTS_PER_MS = 10

/** The reports of all applications. */
export class ReportSchedule {
  readonly #sink: ReportSink
  readonly #delayMs: number
  readonly #timers = new Map<Application, NodeJS.Timeout>()

  /** Reports of one application are merged for `delayMs`, large ones for longer. */
  constructor(sink: ReportSink, delayMs: number) {
    this.#sink = sink
    this.#delayMs = delayMs
  }

  /** Something that its report speaks of changed. */
  note(application: Application): void {
    if (this.#timers.has(application)) return
    const delayMs = Math.max(this.#delayMs, (application.loaded?.declared.size ?? 0) / OBJECTS_PER_MS)
    this.#timers.set(
      application,
      setTimeout(() => this.#send(application), delayMs),
    )
  }

  /** Its tombstone was carried out: that is told instead. */
  removed(application: Application): void {
    clearTimeout(this.#timers.get(application))
    this.#timers.delete(application)
    this.#sink.removed(application.name)
  }

  /** Ends the timers. */
  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer)
  }

  #send(application: Application): void {
    this.#timers.delete(application)
    const last = application.report
    const report = refreshReport(application)
    if (report !== last) this.#sink.put(report)
  }
}

/** The application's report; the same object as before while nothing in it changed. */
export function refreshReport(application: Application): ApplicationReport {
  const report = buildReport(application)
  if (!application.report || !equals(ApplicationReportSchema, application.report, report)) application.report = report
  return application.report
}
