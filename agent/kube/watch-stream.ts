// A watch as a stream of events: one JSON document a line.
import { AppError } from '@fairlead/shared/errors'
import type { KubernetesObject } from '@fairlead/shared/object-reference'
import { type Limit, openStream, readAnswer, statusOf } from './caller.ts'
import type { KubeRequest, WatchEvent } from './kube.ts'
import { type KubeError, parseStatus, type Status } from './kube-error.ts'
import { LineSplitter } from './line-splitter.ts'
import type { IncomingResponse, Transport } from './transport.ts'

/** What to watch, and how its answers are read. */
export interface WatchStreamOptions {
  readonly request: Omit<KubeRequest, 'timeoutMs'>
  /** Makes the error of a refusal. */
  readonly refuse: (status: Status) => KubeError
  /** Makes an object whole: lists and watches leave parts out. */
  readonly adopt: (object: unknown) => KubernetesObject
}

/** Opens a watch; see Kube.watch. */
export async function openWatch(transport: Transport, options: WatchStreamOptions): Promise<AsyncIterable<WatchEvent>> {
  const { response, limit } = await openStream(transport, options.request)
  if (response.status === 200) return readEvents(response, limit, options)
  try {
    throw options.refuse(statusOf(await readAnswer(response)))
  } catch (error) {
    throw limit.explain(error)
  } finally {
    limit[Symbol.dispose]()
  }
}

async function* readEvents(
  response: IncomingResponse,
  limit: Limit,
  { refuse, adopt }: WatchStreamOptions,
): AsyncGenerator<WatchEvent, void, undefined> {
  const splitter = new LineSplitter()
  try {
    for await (const chunk of response.chunks) {
      for (const line of splitter.push(chunk)) {
        const { type, object } = parseEvent(line)
        if (type === 'ERROR') throw refuse(parseStatus(500, object))
        yield { type, object: adopt(object) }
      }
    }
  } catch (error) {
    throw limit.explain(error)
  } finally {
    limit[Symbol.dispose]()
  }
}

function parseEvent(line: string): { type: WatchEvent['type'] | 'ERROR'; object: unknown } {
  try {
    return JSON.parse(line) as { type: WatchEvent['type'] | 'ERROR'; object: unknown }
  } catch (cause) {
    // The parser's message quotes what it read, which may be a Secret.
    throw new AppError('ApiServerUnavailable', 'the API server sent an event that is not JSON', {
      cause: cause instanceof Error ? cause.name : undefined,
    })
  }
}
