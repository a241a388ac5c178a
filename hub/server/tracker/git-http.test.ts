// Two servers on loopback, which the definition names: the first sends to the second.
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { createGitHttp } from './git-http.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function serve(answer: (headers: IncomingHttpHeaders) => { location?: string }): Promise<string> {
  const server = createServer(({ headers }, response) => {
    const { location } = answer(headers)
    response.writeHead(location === undefined ? 200 : 302, location === undefined ? {} : { location }).end('ok')
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('where a server sends to learns neither the login nor what that server had asked to be told', async () => {
  const seen: IncomingHttpHeaders[] = []
  const other = await serve((headers) => {
    seen.push(headers)
    return {}
  })
  const first = await serve((headers) => {
    seen.push(headers)
    return { location: `http://${other}/there` }
  })
  const http = createGitHttp()
  const remote = { url: `http://${first}/shop.git`, authorization: 'Basic secret', redirectHosts: [other] }
  const headers = { Authorization: 'Bearer of-the-first', Host: first, 'x-other': 'kept' }
  const request = { path: '/x', headers, maxBytes: 100, timeoutMs: 5_000, signal: new AbortController().signal }
  expect((await http.send(remote, request)).body.toString()).toBe('ok')
  http.close()
  expect(seen[0]?.authorization).toBe('Bearer of-the-first')
  expect(seen[1]).toMatchObject({ host: other, 'x-other': 'kept' })
  expect(seen[1]?.authorization).toBeUndefined()
})
