// DefinitionsService, ApplicationsService and RepositoriesService over the definitions.
import { create } from '@bufbuild/protobuf'
import {
  type ApplicationsService,
  ApprovePruneResponseSchema,
  DeleteApplicationResponseSchema,
  GetApplicationResponseSchema,
  ListApplicationsResponseSchema,
  PreviewApplicationResponseSchema,
  SuspendApplicationResponseSchema,
} from '@fairlead/proto/applications'
import { ApplyDefinitionsResponseSchema, type DefinitionsService } from '@fairlead/proto/definitions'
import {
  DeleteRepositoryResponseSchema,
  GetRepositoryResponseSchema,
  ListRepositoriesResponseSchema,
  RefreshRepositoryResponseSchema,
  type RepositoriesService,
} from '@fairlead/proto/repositories'
import type { Handlers } from '@fairlead/shared/grpc'
import type { Approvals } from '../approvals/approvals.ts'
import type { Definitions } from '../definitions/definitions.ts'
import type { Previews } from '../previews.ts'
import type { RenderedApplications } from '../rendered-applications.ts'
import { ADMIN } from './clusters-service.ts'

/** What the API asks of the tracker. */
export interface Refresher {
  /** Looks at Git now: at one repository, or at all. */
  refresh(repository?: string): void
}

/** Handlers of DefinitionsService. */
export function definitionsHandlers(definitions: Definitions): Handlers<typeof DefinitionsService> {
  return {
    applyDefinitions: async ({ documents, dryRun }) => {
      const results = await definitions.apply(documents, { dryRun, actor: ADMIN })
      return create(ApplyDefinitionsResponseSchema, { results })
    },
  }
}

/** Handlers of ApplicationsService. */
export function applicationsHandlers(
  definitions: Definitions,
  approvals: Approvals,
  previews: Previews,
  rendered: RenderedApplications,
): Handlers<typeof ApplicationsService> {
  return {
    getApplication: async ({ name }) =>
      create(GetApplicationResponseSchema, { application: await definitions.getApplication(name) }),
    listApplications: async () =>
      create(ListApplicationsResponseSchema, { applications: await definitions.listApplications() }),
    deleteApplication: async ({ name, orphan }) => {
      const clusters = await definitions.deleteApplication({ name, orphan }, ADMIN)
      return create(DeleteApplicationResponseSchema, { clusters })
    },
    suspendApplication: async ({ name, suspend }) => {
      const application = await definitions.suspendApplication({ name, suspend }, ADMIN)
      return create(SuspendApplicationResponseSchema, { application })
    },
    approvePrune: async (request) =>
      create(ApprovePruneResponseSchema, { prune: await approvals.approve(request, ADMIN) }),
    previewApplication: async (request, { signal }) => {
      const { changes, problems } = await previews.preview(request, signal)
      return create(PreviewApplicationResponseSchema, { changes: [...changes], problems: [...problems] })
    },
    renderApplication: async (request, { signal }) => await rendered.render(request, signal),
  }
}

/** Handlers of RepositoriesService. */
export function repositoriesHandlers(
  definitions: Definitions,
  tracker: Refresher,
): Handlers<typeof RepositoriesService> {
  return {
    getRepository: async ({ name }) =>
      create(GetRepositoryResponseSchema, { repository: await definitions.getRepository(name) }),
    listRepositories: async () =>
      create(ListRepositoriesResponseSchema, { repositories: await definitions.listRepositories() }),
    deleteRepository: async ({ name }) => {
      await definitions.deleteRepository(name, ADMIN)
      return create(DeleteRepositoryResponseSchema)
    },
    refreshRepository: async ({ name }) => {
      await definitions.getRepository(name)
      tracker.refresh(name)
      return create(RefreshRepositoryResponseSchema)
    },
  }
}
