// fairlead why: everything known about why an application is not where it should be.
import { create } from '@bufbuild/protobuf'
import { GetFleetStatusRequestSchema } from '@fairlead/proto/fleet'
import { AppError } from '@fairlead/shared/errors'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../cli.ts'
import { explainApplication } from '../fleet/explain.ts'

/** The command. */
export function createWhyCommand(cli: Cli): Command {
  const command = new Command('why')
    .description('tell everything known about why an application is not Synced and Healthy, from Git to each cluster')
    .argument('<application>', 'name of the application')
    .option('-c, --cluster <name>', 'only this cluster', '')
    .action(async (name: string, { cluster }: { cluster: string }) => {
      const request = create(GetFleetStatusRequestSchema, { application: name, cluster })
      const response = await withHub(cli, command, (hub) => hub.fleet.getFleetStatus(request))
      const status = present(response.status, 'the status')
      const application = status.applications.find(({ metadata }) => metadata?.name === name)
      if (!application) throw new AppError('NotFound', `there is no application ${name}`)
      if (cluster !== '' && !status.clusters.some((one) => one.name === cluster)) {
        throw new AppError('NotFound', `there is no cluster ${cluster}`)
      }
      for (const line of explainApplication(application, status, { now: Date.now(), cluster })) cli.output.line(line)
    })
  return command
}
