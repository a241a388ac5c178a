// An HTTP proxy on loopback, as stands between many hubs and the internet: CONNECT for https, absolute addresses for http.
import { createServer, request as forward, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** Starts a proxy on a free port. */
export async function startHttpProxy(): Promise<HttpProxy> {
  const proxy = new HttpProxy()
  await proxy.start()
  return proxy
}

/** A running proxy. */
export class HttpProxy implements AsyncDisposable {
  /** user:password that every request must carry; undefined: none. Default undefined. */
  credentials: string | undefined
  /** host:port of what was asked for by CONNECT, or the address that was asked for. */
  readonly asked: string[] = []
  readonly #server: Server = createServer((request, response) => this.#forward(request, response))
  readonly #sockets = new Set<Socket>()

  /** `http://127.0.0.1:<port>`. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async start(): Promise<void> {
    this.#server.on('connect', (request: IncomingMessage, socket: Socket) => this.#tunnel(request, socket))
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #isAuthorized({ headers }: IncomingMessage): boolean {
    const { credentials } = this
    const expected = credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString('base64')}`
    return headers['proxy-authorization'] === expected
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const { method, url = '', headers } = request
    if (!this.#isAuthorized(request)) {
      response.writeHead(407).end()
      return
    }
    this.asked.push(url)
    const upstream = forward(url, { method, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers)
      reply.pipe(response)
    })
    upstream.on('error', () => response.writeHead(502).end())
    request.pipe(upstream)
  }

  #tunnel(request: IncomingMessage, socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    if (!this.#isAuthorized(request)) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      return
    }
    this.asked.push(request.url ?? '')
    const [host = '', port = ''] = (request.url ?? '').split(':')
    const upstream = connect(Number(port), host, () => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
    this.#sockets.add(upstream)
    upstream.on('error', () => socket.destroy())
    upstream.pipe(socket).pipe(upstream)
  }
}
