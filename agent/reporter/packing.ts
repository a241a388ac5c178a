// Fits reports into NATS messages: first by splitting, and where one application alone is too large, by leaving out
// details, of which the report then says so.
import { create, toBinary } from '@bufbuild/protobuf'
import type { Problem } from '@fairlead/proto/common'
import {
  type ApplicationReport,
  ApplicationReportSchema,
  type HeldPrune,
  type Report,
  ReportSchema,
} from '@fairlead/proto/report'

/** Applications for one report. */
export interface ReportPart {
  readonly applications: readonly ApplicationReport[]
  /** Whether details were left out. */
  readonly truncated: boolean
}

/** A full report, and the deltas that complete it when it had to leave something out. */
export interface FullPlan {
  readonly full: ReportPart
  /** Applications whose details, or who themselves, did not fit. */
  readonly rest: readonly ApplicationReport[]
}

/** What encoding one application in a list costs besides itself: tag and length. */
const ITEM_OVERHEAD_BYTES = 6

/** Bytes of an application within a report. */
export function sizeOf(report: ApplicationReport): number {
  return toBinary(ApplicationReportSchema, report).length + ITEM_OVERHEAD_BYTES
}

/** Splits applications into parts of at most `limitBytes`, in order. */
export function packDeltas(reports: readonly ApplicationReport[], limitBytes: number): ReportPart[] {
  const parts: { applications: ApplicationReport[]; truncated: boolean }[] = []
  let room = 0
  for (const report of reports) {
    const fitted = trimReport(report, limitBytes)
    const size = sizeOf(fitted)
    let part = parts.at(-1)
    if (!part || size > room) {
      part = { applications: [], truncated: false }
      parts.push(part)
      room = limitBytes
    }
    part.applications.push(fitted)
    part.truncated ||= fitted !== report
    room -= size
  }
  return parts
}

/** Plans a full report of at most `limitBytes`: with all details if they fit, else with every application's essence, else with as many as fit. */
export function planFull(reports: readonly ApplicationReport[], limitBytes: number): FullPlan {
  const size = reports.reduce((sum, report) => sum + sizeOf(report), 0)
  if (size <= limitBytes) return { full: { applications: reports, truncated: false }, rest: [] }
  const applications: ApplicationReport[] = []
  const rest: ApplicationReport[] = []
  let room = limitBytes
  for (const report of reports) {
    const essence = essenceOf(report)
    const essenceSize = sizeOf(essence)
    const isFitting = essenceSize <= room
    if (isFitting) {
      applications.push(essence)
      room -= essenceSize
    }
    if (!isFitting || sizeOf(report) > essenceSize) rest.push(report)
  }
  return { full: { applications, truncated: true }, rest }
}

/** The report with only as many details as fit into `limitBytes`; the same object when all do. */
export function trimReport(report: ApplicationReport, limitBytes: number): ApplicationReport {
  if (sizeOf(report) <= limitBytes) return report
  for (let [count, length] = [64, 512]; count >= 1; count = Math.floor(count / 2), length = Math.max(64, length / 2)) {
    const trimmed = create(ApplicationReportSchema, {
      ...report,
      drifts: report.drifts
        .slice(0, Math.min(count, 3))
        .map((drift) => ({ ...drift, fields: drift.fields.slice(0, 5) })),
      problems: report.problems.slice(0, count).map((problem) => shorten(problem, length)),
      unhealthy: report.unhealthy
        .slice(0, count)
        .map((status) => ({ ...status, message: clip(status.message, length) })),
      heldPrunes: report.heldPrunes.map((held) => shortenHeld(held, count, length)),
    })
    if (sizeOf(trimmed) <= limitBytes) return trimmed
  }
  return essenceOf(report)
}

/** State without details. */
function essenceOf(report: ApplicationReport): ApplicationReport {
  const heldPrunes = report.heldPrunes.map((held) => shortenHeld(held, 0, 64))
  return create(ApplicationReportSchema, { ...report, drifts: [], problems: [], unhealthy: [], heldPrunes })
}

/** The digest is what is approved: it always stays. */
function shortenHeld(held: HeldPrune, count: number, length: number): HeldPrune {
  return { ...held, reason: clip(held.reason, length), objects: held.objects.slice(0, count) }
}

function shorten(problem: Problem, length: number): Problem {
  return { ...problem, message: clip(problem.message, length) }
}

/** At most `length` characters, with an ellipsis where some were cut. */
export function clip(text: string, length: number): string {
  if (text.length <= length) return text
  // Never cut a surrogate pair in two.
  const end = /[\uD800-\uDBFF]/.test(text[length - 2] ?? '') ? length - 2 : length - 1
  return `${text.slice(0, end)}…`
}

/** Encodes a report. */
export function encodeReport(report: Report): Uint8Array {
  return toBinary(ReportSchema, report)
}
