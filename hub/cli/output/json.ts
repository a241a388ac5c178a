// Messages of the API as data for scripts: proto JSON, whose field names never change, with every field present.
import { type DescMessage, type MessageShape, toJson } from '@bufbuild/protobuf'
import { type Application, ApplicationSchema, type Repository, RepositorySchema } from '@fairlead/proto/definitions'

/** A message as JSON data. Fields that hold their default are present too, messages that are absent are not. */
export function messageToData<S extends DescMessage>(schema: S, message: MessageShape<S>): unknown {
  return toJson(schema, message, { alwaysEmitImplicit: true })
}

/** An application as the document that users write, with the hub's status. */
export function applicationToData(application: Application): unknown {
  return {
    apiVersion: 'fairlead.dev/v1alpha1',
    kind: 'Application',
    ...asObject(toJson(ApplicationSchema, application)),
  }
}

/** A repository as the document that users write, with the hub's status. */
export function repositoryToData(repository: Repository): unknown {
  return { apiVersion: 'fairlead.dev/v1alpha1', kind: 'Repository', ...asObject(toJson(RepositorySchema, repository)) }
}

function asObject(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {}
}
