#!/usr/bin/env node
// `fairlead agent ...` inside of the agent's pod: asks the running agent over its socket. The hub's command of the same name
// is another program; this one knows nothing but the agent beside it.
import { writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import path from 'node:path'
import { parseArgs } from 'node:util'
import type { AgentStatus } from './status/agent-status.ts'
import { formatStatus } from './status/format-status.ts'
import { SOCKET_PATH } from './status/status-server.ts'

const TIMEOUT_MS = 20_000

const USAGE = `Usage, inside of the agent's pod (kubectl exec deploy/fairlead-agent -- fairlead agent ...):
  fairlead agent status [-o text|json]           what the agent knows and does
  fairlead agent support-bundle [-f FILE]        a .tar.gz without secrets, to FILE or standard output
Exit codes: 0 done, 1 the agent does not answer or is not well (status), 2 wrong usage.
`

async function main(args: readonly string[]): Promise<number> {
  const { positionals, values } = parse(args)
  if (values.help) return print(USAGE)
  const [noun, verb, ...more] = positionals
  if (noun !== 'agent' || more.length > 0) return refuse('there is only "fairlead agent" in here')
  if (verb === 'status') return await status(values.output)
  if (verb === 'support-bundle') return await supportBundle(values.file)
  return refuse(`there is no command ${JSON.stringify(verb ?? '')}`)
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      output: { type: 'string', short: 'o', default: 'text' },
      file: { type: 'string', short: 'f' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
}

async function status(output: string): Promise<number> {
  if (output !== 'text' && output !== 'json') return refuse('-o takes text or json')
  const found = JSON.parse((await ask('/status')).toString('utf8')) as AgentStatus
  await print(
    output === 'json' ? `${JSON.stringify(found, undefined, 2)}\n` : `${formatStatus(found, new Date()).join('\n')}\n`,
  )
  return found.stuck.length === 0 ? 0 : 1
}

async function supportBundle(file: string | undefined): Promise<number> {
  if (file === undefined && process.stdout.isTTY) return refuse('give -f FILE, or send the output into a file')
  const bundle = await ask('/support-bundle')
  if (file === undefined) return await print(bundle)
  await writeFile(file, bundle, { mode: 0o600 })
  return 0
}

async function ask(url: string): Promise<Buffer> {
  const socketPath = path.join(process.env.FAIRLEAD_POD_ROOT ?? '', SOCKET_PATH)
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const asked = request({ socketPath, path: url, timeout: TIMEOUT_MS }, (response) => {
    const parts: Buffer[] = []
    response.on('data', (part: Buffer) => parts.push(part))
    response.on('error', reject)
    response.on('end', () => {
      const body = Buffer.concat(parts)
      if (response.statusCode === 200) resolve(body)
      else reject(new Error(`the agent answers ${response.statusCode}: ${body.toString('utf8').trim()}`))
    })
  })
  asked.on('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)))
  asked.on('error', (error) => reject(new Error(`the agent cannot be asked over ${socketPath}: ${error.message}`)))
  asked.end()
  return await promise
}

async function print(text: string | Buffer): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  process.stdout.write(text, (error) => (error ? reject(error) : resolve(0)))
  return await promise
}

function refuse(why: string): number {
  process.stderr.write(`${why}\n\n${USAGE}`)
  return 2
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (isUsage) process.exitCode = refuse(error.message)
  else {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
