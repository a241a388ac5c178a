// fairlead completion: scripts for shells, and the hidden command that they call. The only file that knows @bomb.sh/tab,
// which is young (0.0.x) and writes to standard output itself.
import { Argument, Command } from 'commander'

/** The two commands. `createProgram` makes the program that is completed, without these two. */
export function createCompletionCommands(createProgram: () => Command): readonly [Command, Command] {
  const script = new Command('completion')
    .description('print the completion script of a shell, for example: source <(fairlead completion bash)')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: string) => {
      const root = await describeProgram(createProgram())
      root.setup('fairlead', 'fairlead', shell)
    })
  const complete = new Command('complete')
    .argument('[words...]', 'what was typed')
    .allowUnknownOption()
    .action(async (words: string[]) => {
      const root = await describeProgram(createProgram())
      root.parse(words)
    })
  return [script, complete]
}

async function describeProgram(program: Command) {
  const { default: tab } = await import('@bomb.sh/tab/commander')
  return tab(program, { completionCommandName: 'completion' })
}
