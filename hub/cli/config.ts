// What the environment says; nothing else of the CLI reads it.
import { homedir } from 'node:os'
import path from 'node:path'

/** Settings from the environment. */
export interface CliEnvironment {
  /** Where the contexts are kept: $FAIRLEAD_CONFIG, default ~/.config/fairlead/config.yaml ($XDG_CONFIG_HOME instead of ~/.config). */
  readonly configPath: string
  /** $FAIRLEAD_CONTEXT: the context to use instead of the file's current one. */
  readonly context: string | undefined
  /** $NO_COLOR or TERM=dumb: no colour even in a terminal (https://no-color.org). */
  readonly noColour: boolean
  /** The whole environment, handed to the hub's own configuration. */
  readonly variables: Readonly<Record<string, string | undefined>>
}

/** Reads the environment. Empty variables count as unset. */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>> = process.env): CliEnvironment {
  const configHome = variables.XDG_CONFIG_HOME || path.join(homedir(), '.config')
  return {
    configPath: variables.FAIRLEAD_CONFIG || path.join(configHome, 'fairlead', 'config.yaml'),
    context: variables.FAIRLEAD_CONTEXT || undefined,
    noColour: Boolean(variables.NO_COLOR) || variables.TERM === 'dumb',
    variables,
  }
}
