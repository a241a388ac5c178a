// The agent's HTTP endpoints: /healthz (the process does its work), /readyz (it leads, or can take over) for the kubelet,
// and /metrics for Prometheus. Read only; nothing here can be used to change anything.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EXPOSITION_TYPE } from './metrics/registry.ts'

/** What /readyz says. */
export interface Readiness {
  readonly isReady: boolean
  /** Shown as JSON, for people. */
  readonly detail: Readonly<Record<string, unknown>>
}

/** What the endpoints ask. */
export interface ProbeSources {
  readonly readiness: () => Readiness
  /** What is stuck; empty when the process is well. */
  readonly findStuck: () => readonly string[]
  /** The exposition; undefined: there is no /metrics. */
  readonly metrics: (() => string) | undefined
}

/** The running endpoints. */
export interface Probes {
  readonly port: number
  stop(): Promise<void>
}

interface Answer {
  readonly status: number
  readonly body: string
  readonly type?: string
}

/** Serves the endpoints on `port` (0: a free one). Rejects when the port is taken. */
export async function startProbes(port: number, sources: ProbeSources): Promise<Probes> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0] ?? ''
    const { status, body, type = 'application/json' } = answerTo(request.method === 'GET' ? path : '', sources)
    response.writeHead(status, { 'content-type': type }).end(body)
  })
  server.keepAliveTimeout = 1_000
  const listening = Promise.withResolvers<void>()
  server.once('error', listening.reject)
  server.listen(port, listening.resolve)
  await listening.promise
  return { port: (server.address() as AddressInfo).port, stop: () => close(server) }
}

function answerTo(path: string, { readiness, findStuck, metrics }: ProbeSources): Answer {
  if (path === '/healthz') {
    const stuck = findStuck()
    return stuck.length === 0 ? json(200, { status: 'ok' }) : json(503, { status: 'stuck', stuck })
  }
  if (path === '/readyz') {
    const { isReady, detail } = readiness()
    return json(isReady ? 200 : 503, { ready: isReady, ...detail })
  }
  if (path === '/metrics' && metrics) return { status: 200, body: metrics(), type: EXPOSITION_TYPE }
  return json(404, { status: 'not found' })
}

function json(status: number, body: object): Answer {
  return { status, body: `${JSON.stringify(body)}\n` }
}

async function close(server: Server): Promise<void> {
  const closed = Promise.withResolvers<void>()
  server.close(() => closed.resolve())
  server.closeAllConnections()
  await closed.promise
}
