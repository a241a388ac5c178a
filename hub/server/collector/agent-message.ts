// Reads what an agent sent. An agent may be hostile: a number that SQLite or JavaScript cannot hold, or a time that JSON
// cannot say, would be refused only where it is stored, together with what other agents said, or where it is read again.
import { fromBinary } from '@bufbuild/protobuf'
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt'
import { type Heartbeat, HeartbeatSchema, type Report, ReportSchema } from '@fairlead/proto/report'
import { AppError } from '@fairlead/shared/errors'
import { AGENT_MAX_PAYLOAD_BYTES } from '@fairlead/shared/subjects'

const MAX_NUMBER = BigInt(Number.MAX_SAFE_INTEGER)
/** 0001-01-01 and 9999-12-31 in seconds: what proto JSON can say. */
const TIME_SECONDS = { min: -62_135_596_800n, max: 253_402_300_799n } as const

/** The report. Throws for what is too large, cannot be decoded or could not be stored. */
export function readReport(data: Uint8Array): Report {
  checkSize(data)
  const report = fromBinary(ReportSchema, data)
  check(report.sequence <= MAX_NUMBER && report.sliceGeneration <= MAX_NUMBER && hasValidTimes(report))
  return report
}

/** The heartbeat. Throws as readReport does. */
export function readHeartbeat(data: Uint8Array): Heartbeat {
  checkSize(data)
  const heartbeat = fromBinary(HeartbeatSchema, data)
  check(heartbeat.reportSequence <= MAX_NUMBER && heartbeat.sliceGeneration <= MAX_NUMBER)
  return heartbeat
}

function checkSize(data: Uint8Array): void {
  check(data.length <= AGENT_MAX_PAYLOAD_BYTES)
}

function check(isGood: boolean): void {
  if (!isGood) throw new AppError('InvalidArgument', 'the message holds what cannot be kept')
}

/** True when every time anywhere within is one that can be written as JSON. */
function hasValidTimes(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return true
  if ('$typeName' in value && value.$typeName === TimestampSchema.typeName) {
    const { seconds, nanos } = value as Timestamp
    return seconds >= TIME_SECONDS.min && seconds <= TIME_SECONDS.max && nanos >= 0 && nanos < 1_000_000_000
  }
  return Object.values(value).every(hasValidTimes)
}
