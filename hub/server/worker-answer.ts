// The worker's side of the pool: answers each request with a value or an AppError.
import { parentPort } from 'node:worker_threads'
import { toAppError } from '@fairlead/shared/errors'
import type { WorkerAnswer } from './worker-pool.ts'

/** Answers every request of the pool with what `handle` returns; what it throws becomes the request's error. */
export function answerRequests(handle: (request: unknown) => unknown): void {
  const port = parentPort
  if (port === null) throw new Error('this file is started as a worker thread only')
  port.on('message', (request: unknown) => {
    void answer(handle, request).then((message) => port.postMessage(message))
  })
  port.postMessage('ready' satisfies WorkerAnswer)
}

async function answer(handle: (request: unknown) => unknown, request: unknown): Promise<WorkerAnswer> {
  try {
    return { value: await handle(request) }
  } catch (thrown) {
    const { code, message, context } = toAppError(thrown)
    return { error: { code, message, context: { ...context } } }
  }
}
