// fairlead unbootstrap: ends that a repository is followed for definitions. Nothing is deleted.
import { create } from '@bufbuild/protobuf'
import { ApplyDefinitionsRequestSchema } from '@fairlead/proto/definitions'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, withHub } from '../cli.ts'
import { plain } from '../output/text.ts'
import { documentOf, findRepository } from './bootstrap.ts'

/** The command. */
export function createUnbootstrapCommand(cli: Cli): Command {
  const command = new Command('unbootstrap')
    .description(
      'stop following a repository for definitions; all that came from there stays, and is changed by hand from then on',
    )
    .argument('<name>', 'name of the repository')
    .action(async (name: string) => {
      await withHub(cli, command, async (hub) => {
        const repository = await findRepository(hub, name)
        if (!repository) throw new AppError('NotFound', `there is no Repository ${JSON.stringify(name)}`)
        if (!repository.spec?.definitions) {
          cli.output.line(`repository/${plain(name)} is not followed for definitions`)
          return
        }
        const { spec, ...document } = documentOf(repository)
        const { definitions: _, ...rest } = spec as Record<string, unknown>
        const documents = [{ json: JSON.stringify({ ...document, spec: rest }) }]
        await hub.definitions.applyDefinitions(create(ApplyDefinitionsRequestSchema, { documents }))
        cli.output.line(`repository/${plain(name)} is not followed for definitions any more; nothing was deleted`)
      })
    })
  return command
}
