// The plain nats-server, as a client sees it.

import { connect } from '@nats-io/transport-node'
import { expect, test } from 'vitest'
import { startNats } from './nats.ts'

test('nats-server carries a message, and comes back on its port after a kill', async () => {
  await using server = await startNats({ config: (folder) => `jetstream { store_dir: "${folder}/store" }` })
  for (const _ of ['before', 'after']) {
    const client = await connect({ servers: server.url })
    const subscription = client.subscribe('greeting', { max: 1 })
    client.publish('greeting', 'hello')
    for await (const message of subscription) expect(message.string()).toBe('hello')
    await client.close()
    await server.kill()
    await server.start()
  }
})
