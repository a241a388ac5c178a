// Answers `fairlead agent ...` inside of the pod: HTTP over a socket in the file system, which nothing outside of the pod
// can reach and only the agent's own user may open.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import path from 'node:path'

/** Where the socket is, below the pod's root. */
export const SOCKET_PATH = '/run/fairlead/agent.sock'

/** What is asked. */
export interface StatusSources {
  /** To be shown as JSON. */
  readonly status: () => object
  /** A gzipped tar archive. */
  readonly bundle: () => Promise<Buffer>
}

/** A running server. */
export interface StatusServer {
  stop(): Promise<void>
}

/** Listens on the socket; one that an earlier process left is replaced. Rejects when it cannot be made. */
export async function startStatusServer(socket: string, sources: StatusSources): Promise<StatusServer> {
  await mkdir(path.dirname(socket), { recursive: true })
  await rm(socket, { force: true })
  const server = createServer((request, response) => {
    const send = (status: number, type: string, body: string | Buffer): void => {
      response.writeHead(status, { 'content-type': type }).end(body)
    }
    if (request.method !== 'GET') send(405, 'text/plain', 'only GET\n')
    else if (request.url === '/status') send(200, 'application/json', `${JSON.stringify(sources.status())}\n`)
    else if (request.url === '/support-bundle') {
      sources.bundle().then(
        (body) => send(200, 'application/gzip', body),
        (error: unknown) => send(500, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`),
      )
    } else send(404, 'text/plain', 'not found\n')
  })
  const listening = Promise.withResolvers<void>()
  server.once('error', listening.reject)
  server.listen(socket, listening.resolve)
  await listening.promise
  await chmod(socket, 0o600)
  return { stop: async () => await close(server) }
}

async function close(server: Server): Promise<void> {
  const closed = Promise.withResolvers<void>()
  server.close(() => closed.resolve())
  server.closeAllConnections()
  await closed.promise
}
