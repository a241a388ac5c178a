// fairlead get: any kind of thing by one word.
import { create } from '@bufbuild/protobuf'
import { GetApplicationRequestSchema, ListApplicationsRequestSchema } from '@fairlead/proto/applications'
import { GetClusterRequestSchema, ListClustersRequestSchema } from '@fairlead/proto/clusters'
import { GetRepositoryRequestSchema, ListRepositoriesRequestSchema } from '@fairlead/proto/repositories'
import { Command } from 'commander'
import { type Cli, present, withHub } from '../cli.ts'
import type { HubClient } from '../client.ts'
import {
  APPLICATION,
  CLUSTER,
  type ListFormat,
  listFormatOption,
  printList,
  printOne,
  REPOSITORY,
} from '../output/nouns.ts'
import { type Kind, parseKind } from './kind.ts'

/** The command. */
export function createGetCommand(cli: Cli): Command {
  const command = new Command('get')
    .description('show clusters, repositories or applications')
    .argument('<kind>', 'clusters, repositories or applications')
    .argument('[name]', 'only this one')
    .addOption(listFormatOption())
    .action(async (word: string, name: string | undefined, { output }: { output: ListFormat }) => {
      const kind = parseKind(word)
      await withHub(cli, command, (hub) =>
        name === undefined ? showAll({ cli, hub, output }, kind) : showOne({ cli, hub, output }, kind, name),
      )
    })
  return command
}

interface Show {
  readonly cli: Cli
  readonly hub: HubClient
  readonly output: ListFormat
}

async function showAll({ cli, hub, output }: Show, kind: Kind): Promise<void> {
  if (kind === 'cluster') {
    const { clusters } = await hub.clusters.listClusters(create(ListClustersRequestSchema))
    printList(cli.output, CLUSTER, clusters, output)
  } else if (kind === 'repository') {
    const { repositories } = await hub.repositories.listRepositories(create(ListRepositoriesRequestSchema))
    printList(cli.output, REPOSITORY, repositories, output)
  } else {
    const { applications } = await hub.applications.listApplications(create(ListApplicationsRequestSchema))
    printList(cli.output, APPLICATION, applications, output)
  }
}

async function showOne({ cli, hub, output }: Show, kind: Kind, name: string): Promise<void> {
  if (kind === 'cluster') {
    const { cluster } = await hub.clusters.getCluster(create(GetClusterRequestSchema, { name }))
    printOne(cli.output, CLUSTER, present(cluster, 'the cluster'), output)
  } else if (kind === 'repository') {
    const { repository } = await hub.repositories.getRepository(create(GetRepositoryRequestSchema, { name }))
    printOne(cli.output, REPOSITORY, present(repository, 'the repository'), output)
  } else {
    const { application } = await hub.applications.getApplication(create(GetApplicationRequestSchema, { name }))
    printOne(cli.output, APPLICATION, present(application, 'the application'), output)
  }
}
