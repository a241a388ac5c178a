// Logs: pino JSON on standard error, constant messages, data as fields. Never payloads, never Secret data.
import { type DestinationStream, destination, type Level, type Logger as PinoLogger, pino } from 'pino'
import { AppError } from './errors.ts'

/** A pino logger. */
export type Logger = PinoLogger

/** Settings of a logger. */
export interface LoggerOptions {
  /** Name of the process: hub or agent. */
  readonly name: string
  /** Smallest level written, default info. */
  readonly level?: Level | 'silent'
  /** Where to write, default standard error, synchronously: a crash loses no line. */
  readonly stream?: DestinationStream
  /** Called with each line besides. Must not throw. */
  readonly onLine?: (line: string) => void
}

/** Makes the process's logger. Errors are written under `error` with code, message, context and, for bugs, the stack. */
export function createLogger({
  name,
  level = 'info',
  stream = destination({ fd: 2, sync: true }),
  onLine,
}: LoggerOptions): Logger {
  return pino(
    {
      name,
      level,
      base: { name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    onLine ? tee(stream, onLine) : stream,
  )
}

function tee(stream: DestinationStream, onLine: (line: string) => void): DestinationStream {
  return {
    write: (line) => {
      stream.write(line)
      onLine(line)
    },
  }
}

/** A logger that writes nothing. */
export const silentLogger: Logger = pino({ level: 'silent' })

function describeError(error: unknown): unknown {
  if (error instanceof AppError) {
    const stack = error.kind === 'bug' ? { stack: error.stack } : {}
    const cause = error.cause === undefined ? {} : { cause: describeError(error.cause) }
    return { code: error.code, message: error.message, ...error.context, ...cause, ...stack }
  }
  if (error instanceof Error) return { message: error.message, stack: error.stack }
  return error
}
