// fairlead hub: runs the hub in this process until it is told to stop.
import type { HubFlags } from '@fairlead/server/config'
import { Command, Option } from 'commander'
import { type Cli, collect, contextFilePath } from '../cli.ts'

/** The command. */
export function createHubCommand(cli: Cli): Command {
  const command = new Command('hub')
    .description('run the hub; its first start makes its CA, its keys and a context for this CLI')
    .option('--data-dir <folder>', 'everything that the hub keeps (default: fairlead-data)')
    .option('--listen <host:port>', 'gRPC API (default: 127.0.0.1:7443)')
    .option('--public-address <host:port>', 'how agents and the CLI reach the API, when it differs')
    .option('--nats-listen <host:port>', 'embedded NATS (default: port 4222 on the host of --listen)')
    .option('--nats-public-url <url>', 'how agents reach NATS, when it differs')
    .option(
      '--nats-websocket-listen <host:port>',
      'WebSocket listener of the embedded NATS, for agents behind HTTP proxies',
    )
    .option('--nats-websocket-public-url <url>', 'how agents reach it, when it differs: wss://...')
    .option('--webhook-listen <host:port>', 'take webhooks of Git hosts here (default: none are taken)')
    .option(
      '--webhook-tls <own|off|cert,key>',
      "by the hub's own certificate, without TLS behind a proxy, or by two PEM files (default: own)",
    )
    .option('--nats-url <url>', 'use this NATS instead of the embedded one')
    .option('--nats-server <file>', 'nats-server to run (default: the one on PATH)')
    .option('--stale-after <duration>', 'silence after which a cluster is Stale (default: 45s)')
    .option('--offline-after <duration>', 'silence after which a cluster is Offline (default: 5m)')
    .option('--poll-interval <duration>', 'how often to look at repositories that do not say (default: 30s)')
    .option(
      '--credential-dir <folder>',
      'where file: credentials of repositories may come from (repeatable; default: /etc/fairlead and credentials in the data folder)',
      collect,
    )
    .addOption(
      new Option('--log-level <level>', 'smallest level logged (default: info)').choices([
        'trace',
        'debug',
        'info',
        'warn',
        'error',
        'silent',
      ]),
    )
    .addHelpText(
      'after',
      '\nEach option is also a variable: --data-dir is FAIRLEAD_DATA_DIR. Logs are JSON on standard error.',
    )
    .action(async (flags: HubFlags) => {
      const { parseHubConfig } = await import('@fairlead/server/config')
      const variables = { ...cli.environment.variables, FAIRLEAD_CONFIG: contextFilePath(cli, command) }
      const config = parseHubConfig(flags, variables)
      const { runHub } = await import('@fairlead/server/main')
      const hub = await runHub(config, { signal: cli.signal })
      if (cli.output.isTerminal) cli.output.note(`The hub serves at ${hub.apiAddress}. Ctrl-C stops it.`)
      await untilAborted(cli.signal)
      await hub.stop()
    })
  return command
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => resolve(), { once: true })
  await promise
}
