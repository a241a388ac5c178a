// docs/reference/cli.md, made from the commands themselves.
import type { Command, Option } from 'commander'
import { EXIT_CODES } from '../exit-codes.ts'
import { walk } from '../program.ts'

const INTRODUCTION = `# The command line

<!-- Made by hub/cli/reference/write.ts; change the commands, then run: node hub/cli/reference/write.ts -->

\`fairlead\` is one program: the hub (\`fairlead hub\`) and everything a person does with it. What a command finds goes to
standard output, words to a person (errors, hints, warnings) to standard error. Errors begin with \`error:\` and hints with
\`hint:\`. There is colour only when standard output is a terminal and \`NO_COLOR\` is not set.

\`-o json\` and \`-o yaml\` are for scripts: they are the JSON form of the API's messages (\`proto/fairlead/v1\`), whose field
names do not change. 64-bit numbers are strings there, states are words such as \`SYNC_STATE_SYNCED\`. Applications and
repositories have the form that \`fairlead apply\` takes ([definitions.md](definitions.md)), with their status.

## Which hub

\`fairlead hub\` writes a context for its own administrator at its first start: address, CA and token. Contexts are kept in
\`$FAIRLEAD_CONFIG\`, else \`~/.config/fairlead/config.yaml\` (below \`$XDG_CONFIG_HOME\` if that is set), readable only by their owner. A command uses
the context that \`--context\` names, else \`$FAIRLEAD_CONTEXT\`, else the current one (\`fairlead context use\`).

\`\`\`yaml
currentContext: default
contexts:
  - name: default
    address: 127.0.0.1:7443
    caPem: |
      -----BEGIN CERTIFICATE-----
      ...
    token: ...
\`\`\`
`

/** The whole page, for the program that createProgram makes. */
export function renderCliReference(program: Command): string {
  const commands = [...walk(program)].filter(
    (command) => command.commands.length === 0 && command.name() !== 'complete',
  )
  return [
    INTRODUCTION,
    exitCodes(),
    `## Options of every command\n\n${optionTable(program.options)}\n`,
    ...commands.map(renderCommand),
  ].join('\n')
}

function exitCodes(): string {
  const rows = Object.values(EXIT_CODES).map(({ code, meaning }) => `| ${code} | ${meaning} |`)
  return ['## Exit codes', '', '| code | meaning |', '|---|---|', ...rows, ''].join('\n')
}

function renderCommand(command: Command): string {
  const names: string[] = []
  for (let current: Command | null = command; current; current = current.parent) names.unshift(current.name())
  const usage = command.usage().replace('[options]', command.options.length > 0 ? '[options]' : '')
  const description = command.description()
  return [
    `## ${names.join(' ')}`,
    '',
    `${description.charAt(0).toUpperCase()}${description.slice(1)}.`,
    '',
    '```',
    `${names.join(' ')} ${usage}`.replace(/ +/g, ' ').trim(),
    '```',
    '',
    ...argumentTable(command),
    ...(command.options.length > 0 ? [optionTable(command.options), ''] : []),
  ].join('\n')
}

function argumentTable(command: Command): string[] {
  const rows = command.registeredArguments.map((argument) => {
    const choices = argument.argChoices ? ` (${argument.argChoices.join(', ')})` : ''
    return `| \`${argument.name()}\` | ${escapeCell(argument.description)}${choices} |`
  })
  return rows.length === 0 ? [] : ['| argument | |', '|---|---|', ...rows, '']
}

function optionTable(options: readonly Option[]): string {
  const rows = options.map((option) => {
    const choices = option.argChoices ? `: ${option.argChoices.join(', ')}` : ''
    const worth = typeof option.defaultValue === 'string' && option.defaultValue !== ''
    const standard = worth ? ` (default: ${option.defaultValue})` : ''
    return `| \`${option.flags}\` | ${escapeCell(`${option.description}${choices}${standard}`)} |`
  })
  return ['| option | |', '|---|---|', ...rows].join('\n')
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
}
