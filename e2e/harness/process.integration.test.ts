// Processes under test: how they end, and that nothing of them is left behind.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { startProcess } from './process.ts'
import { waitFor } from './wait.ts'

/** A process that has ended but was not yet asked for its exit code still has a folder in /proc. */
const isRunning = (pid: number) =>
  existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))

test('a process that ends by itself is noticed and explained', async () => {
  const process = startProcess({ name: 'short', command: 'sh', args: ['-c', 'echo no such file >&2; exit 3'] })
  expect(await process.exited).toEqual({ code: 3, signal: null })
  expect(process.describeExit()).toBe('short (sh) ended by itself with code 3')
  expect(process.tail()).toBe('no such file')
})

test('a command that is not there is explained', async () => {
  const process = startProcess({ name: 'missing', command: '/nowhere/hub' })
  await process.exited
  expect(process.describeExit()).toBe('missing could not be started: spawn /nowhere/hub ENOENT')
})

test('stop ends a process that ignores SIGTERM or is paused, and what it has started', async () => {
  const script = 'trap "" TERM; sleep 1000 & echo $!; wait'
  const stubborn = startProcess({ name: 'stubborn', command: 'sh', args: ['-c', script] })
  const child = Number(await waitFor('its child', () => stubborn.readLog().endsWith('\n') && stubborn.tail()))
  stubborn.pause()
  expect(await stubborn.stop({ timeoutMs: 100 })).toEqual({ code: null, signal: 'SIGKILL' })
  await waitFor('the child to end', () => !isRunning(child))
})

test('a crash of a process leaves what it has started, as in real life, until it is stopped', async () => {
  const process = startProcess({ name: 'parent', command: 'sh', args: ['-c', 'sleep 1000 & echo $!; wait'] })
  const child = Number(await waitFor('its child', () => process.readLog().endsWith('\n') && process.tail()))
  await process.kill()
  expect(isRunning(child)).toBe(true)
  await process.stop()
  await waitFor('the child to end', () => !isRunning(child))
})

test('a run that is killed leaves no process and no file behind', async () => {
  const program = `
    const { startProcess } = await import(${JSON.stringify(path.join(import.meta.dirname, 'process.ts'))})
    const sleeper = startProcess({ name: 'sleeper', command: 'sleep', args: ['1000'] })
    console.log(sleeper.pid + ' ' + sleeper.logFile)
    setInterval(() => {}, 1000)`
  const run = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const { value = '' } = await createInterface({ input: run.stdout })[Symbol.asyncIterator]().next()
  const [pid = '', logFile = ''] = value.split(' ')
  expect([isRunning(Number(pid)), existsSync(logFile)]).toEqual([true, true])
  run.kill('SIGKILL')
  await waitFor('the process and its log to go', () => !isRunning(Number(pid)) && !existsSync(path.dirname(logFile)))
})
