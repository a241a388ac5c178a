// ClustersService and EnrolmentService over the registry and the view.
import { create } from '@bufbuild/protobuf'
import { type Duration, durationMs } from '@bufbuild/protobuf/wkt'
import {
  type ClustersService,
  CreateJoinTokenResponseSchema,
  GetClusterResponseSchema,
  ListClustersResponseSchema,
  RegisterClusterResponseSchema,
  RemoveClusterResponseSchema,
  UpdateClusterLabelsResponseSchema,
  UpdateClusterValuesResponseSchema,
} from '@fairlead/proto/clusters'
import {
  type EnrolmentService,
  GetChallengeResponseSchema,
  JoinResponseSchema,
  RenewResponseSchema,
} from '@fairlead/proto/enrolment'
import type { Handlers } from '@fairlead/shared/grpc'
import { matchesSelector, parseSelector } from '../label-selector.ts'
import type { Registry } from '../registry/registry.ts'
import type { FleetView } from '../view/view.ts'

/** Whoever holds the administrator's token. */
export const ADMIN = 'admin'

/** Handlers of ClustersService. */
export function clustersHandlers(registry: Registry, view: FleetView): Handlers<typeof ClustersService> {
  // What was just changed is read again first, so that a caller sees its own change.
  const show = async (name: string) => {
    await view.refresh([])
    return view.getCluster(name)
  }
  return {
    registerCluster: async ({ name, labels, tokenTtl }) => {
      const { join } = await registry.register({ name, labels, ...ttlOf(tokenTtl) }, ADMIN)
      return create(RegisterClusterResponseSchema, { cluster: await show(name), join })
    },
    createJoinToken: async ({ name, tokenTtl }) => {
      const join = await registry.createJoinToken({ name, ...ttlOf(tokenTtl) }, ADMIN)
      return create(CreateJoinTokenResponseSchema, { join })
    },
    getCluster: async ({ name }) => create(GetClusterResponseSchema, { cluster: await show(name) }),
    listClusters: async ({ selector }) => {
      const parsed = parseSelector(selector)
      await view.refresh([])
      const clusters = view.listClusters().filter((cluster) => matchesSelector(parsed, cluster.labels))
      return create(ListClustersResponseSchema, { clusters })
    },
    updateClusterLabels: async ({ name, set, remove }) => {
      await registry.updateLabels({ name, set, remove }, ADMIN)
      return create(UpdateClusterLabelsResponseSchema, { cluster: await show(name) })
    },
    updateClusterValues: async ({ name, set, remove }) => {
      await registry.updateValues({ name, set, remove }, ADMIN)
      return create(UpdateClusterValuesResponseSchema, { cluster: await show(name) })
    },
    removeCluster: async ({ name }) => {
      await registry.remove(name, ADMIN)
      await view.refresh([])
      return create(RemoveClusterResponseSchema)
    },
  }
}

function ttlOf(ttl: Duration | undefined): { tokenTtlMs?: number } {
  return ttl === undefined ? {} : { tokenTtlMs: durationMs(ttl) }
}

/** Handlers of EnrolmentService: the only ones that need no bearer token. */
export function enrolmentHandlers(registry: Registry): Handlers<typeof EnrolmentService> {
  return {
    join: async ({ token, publicKey, proof, facts }, { peer }) => {
      const joined = await registry.join({ token, publicKey, proof, facts, peer })
      return create(JoinResponseSchema, joined)
    },
    getChallenge: async () => create(GetChallengeResponseSchema, { challenge: registry.challenge() }),
    renew: async ({ clusterId, publicKey, challenge, proof }) => {
      const credentials = await registry.renew({ clusterId, publicKey, challenge, proof })
      return create(RenewResponseSchema, { credentials })
    },
  }
}
