// Deletes applications and repositories, and waits until applications have left their clusters where that is asked for.
import { setTimeout as delay } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { DeleteApplicationRequestSchema } from '@fairlead/proto/applications'
import { GetFleetStatusRequestSchema } from '@fairlead/proto/fleet'
import { DeleteRepositoryRequestSchema } from '@fairlead/proto/repositories'
import { AppError } from '@fairlead/shared/errors'
import type { Command } from 'commander'
import { type Cli, durationOption } from '../cli.ts'
import type { HubClient } from '../client.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import { connectionWord, plain } from '../output/text.ts'

/** Options of commands that delete applications. */
export interface DeleteOptions {
  /** Leave the objects in the clusters. */
  readonly orphan?: boolean
  readonly wait?: boolean
  /** Longest wait in ms. */
  readonly timeout: number
}

/** Adds the options that deleteApplications reads. */
export function addDeleteOptions(command: Command): Command {
  return command
    .option('--orphan', 'leave the objects of applications in the clusters, owned by nobody')
    .option('--wait', 'wait until every cluster has confirmed')
    .option('--timeout <duration>', 'longest wait (default: 5m)', durationOption, 300_000)
}

const POLL_MS = 250

/** Deletes applications and says where they leave; with `wait`, returns when the hub has forgotten them. After the time-out it says who has not confirmed and sets the exit code. */
export async function deleteApplications(
  cli: Cli,
  hub: HubClient,
  names: readonly string[],
  { orphan = false, wait = false, timeout }: DeleteOptions,
): Promise<void> {
  for (const name of names) {
    const request = create(DeleteApplicationRequestSchema, { name, orphan })
    const { clusters } = await hub.applications.deleteApplication(request)
    const leaves =
      clusters.length === 0 ? '' : `: ${orphan ? 'given up on' : 'leaves'} ${clusters.map(plain).join(', ')}`
    cli.output.line(`application/${name} ${clusters.length === 0 ? 'deleted' : 'deleting'}${leaves}`)
  }
  if (!wait) return
  const deadline = Date.now() + timeout
  for (const name of names) await waitUntilGone(cli, hub, name, deadline)
}

async function waitUntilGone(cli: Cli, hub: HubClient, name: string, deadline: number): Promise<void> {
  for (;;) {
    const { status } = await hub.fleet
      .getFleetStatus(create(GetFleetStatusRequestSchema, { application: name }))
      .catch((error: unknown) => {
        if (error instanceof AppError && error.code === 'NotFound') return { status: undefined }
        throw error
      })
    const exists = status?.applications.some((application) => application.metadata?.name === name)
    if (!exists) {
      cli.output.line(`application/${name} deleted`)
      return
    }
    if (Date.now() >= deadline) {
      const left = status?.deployments.map((one) => `${plain(one.cluster)} (${connectionWord(one.connection)})`) ?? []
      cli.output.note(
        `error: application/${name} is still being deleted; not confirmed by ${left.join(', ') || 'the hub'}`,
      )
      cli.exitCode = EXIT_CODES.notReady.code
      return
    }
    await delay(POLL_MS, undefined, { signal: cli.signal })
  }
}

/** Deletes a repository and says so. */
export async function deleteRepository(cli: Cli, hub: HubClient, name: string): Promise<void> {
  await hub.repositories.deleteRepository(create(DeleteRepositoryRequestSchema, { name }))
  cli.output.line(`repository/${name} deleted`)
}
