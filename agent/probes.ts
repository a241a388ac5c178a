// The agent's HTTP endpoints for the kubelet: /healthz (the process turns) and /readyz (it has joined and works).
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What /readyz says. */
export interface Readiness {
  readonly isReady: boolean
  /** Shown as JSON, for people. */
  readonly detail: Readonly<Record<string, unknown>>
}

/** The running endpoints. */
export interface Probes {
  readonly port: number
  stop(): Promise<void>
}

/** Serves the endpoints on `port` (0: a free one). Rejects when the port is taken. */
export async function startProbes(port: number, readiness: () => Readiness): Promise<Probes> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0]
    const { isReady, detail } = readiness()
    const status = path === '/healthz' || (path === '/readyz' && isReady) ? 200 : path === '/readyz' ? 503 : 404
    const body = path === '/readyz' ? { ready: isReady, ...detail } : { status: status === 200 ? 'ok' : 'not found' }
    response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
  })
  server.keepAliveTimeout = 1_000
  const listening = Promise.withResolvers<void>()
  server.once('error', listening.reject)
  server.listen(port, listening.resolve)
  await listening.promise
  return { port: (server.address() as AddressInfo).port, stop: () => close(server) }
}

async function close(server: Server): Promise<void> {
  const closed = Promise.withResolvers<void>()
  server.close(() => closed.resolve())
  server.closeAllConnections()
  await closed.promise
}
