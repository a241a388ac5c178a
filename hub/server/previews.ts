// Previews: which questions are worth asking a cluster's agent, and the answer as the API gives it.
import { ConnectionState } from '@fairlead/proto/common'
import { AppError } from '@fairlead/shared/errors'
import type { Commander, PreviewAnswer } from './commander/commander.ts'
import type { Store } from './store/store.ts'
import type { FleetView } from './view/view.ts'

/** What previews need. */
export interface PreviewsOptions {
  readonly store: Store
  readonly view: Pick<FleetView, 'refresh' | 'status'>
  /** Undefined while NATS was never connected. */
  readonly commander: () => Commander | undefined
}

/** Asks agents what they would change. */
export interface Previews {
  /** What would change for an application on a cluster. Throws NotFound, FailedPrecondition when it does not run there or the cluster is not Online, Unavailable when there is no answer in time. */
  preview(request: { application: string; cluster: string }, signal?: AbortSignal): Promise<PreviewAnswer>
}

/** Makes previews. */
export function createPreviews({ store, view, commander }: PreviewsOptions): Previews {
  return {
    preview: async ({ application, cluster }, signal) => {
      if (application === '' || cluster === '')
        throw new AppError('InvalidArgument', 'name an application and a cluster')
      await view.refresh([])
      const status = view.status({ application, cluster })
      const [deployment] = status.deployments
      if (!deployment || deployment.removing) {
        throw new AppError('FailedPrecondition', `${application} is not asked to run on ${cluster}`)
      }
      const { connection } = deployment
      if (connection !== ConnectionState.ONLINE) {
        const state = ConnectionState[connection].toLowerCase()
        throw new AppError('FailedPrecondition', `only the agent can tell, and ${cluster} is ${state}`)
      }
      const asked = commander()
      const row = await store.db.selectFrom('clusters').select('id').where('name', '=', cluster).executeTakeFirst()
      if (!asked || !row) throw new AppError('Unavailable', 'the hub is not connected to NATS yet')
      return await asked.preview(row.id, application, signal)
    },
  }
}
