// Makes the streams, and sets right what differs; they hold nothing that the database could not restore.

import { STREAM_CONFIGS } from '@fairlead/shared/subjects'
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager, type StreamConfig } from '@nats-io/jetstream'

/** Makes each stream that is missing and updates each that differs. Returns the names of those made. */
export async function ensureStreams(manager: JetStreamManager): Promise<string[]> {
  const made: string[] = []
  for (const wanted of STREAM_CONFIGS) {
    const config = { ...structuredClone(wanted), storage: 'file' } as unknown as StreamConfig
    const present = await findConfig(manager, wanted.name)
    if (!present) {
      await manager.streams.add(config)
      made.push(wanted.name)
    } else if (differs(config, present)) await manager.streams.update(wanted.name, config)
  }
  return made
}

async function findConfig(manager: JetStreamManager, name: string): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(name)).config
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound) return undefined
    throw error
  }
}

/** True when a field that we set is not as we set it; what the server adds does not count. */
function differs(wanted: unknown, present: unknown): boolean {
  if (typeof wanted !== 'object' || wanted === null) return wanted !== present
  if (typeof present !== 'object' || present === null) return true
  const fields = present as Record<string, unknown>
  // The server leaves out what is false.
  return Object.entries(wanted).some(([key, value]) =>
    differs(value, fields[key] ?? (value === false ? false : undefined)),
  )
}
