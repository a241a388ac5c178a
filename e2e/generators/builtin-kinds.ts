// A realistic manifest of every built-in kind that people keep in Git, spelt as people spell them: short quantities,
// omitted defaults, empty maps. What is left out is named with the reason, so that a new kind must be thought about.

import { admissionManifests, clusterManifests } from './cluster-kinds.ts'
import { workloadManifests } from './workload-kinds.ts'

/** A manifest. */
export type Manifest = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

/** Names for the manifests of one run. */
export type ManifestNames = {
  /** For namespaced objects; must exist. */
  readonly namespace: string
  /** Begins the names of cluster-wide objects, so that two runs on one cluster do not meet. */
  readonly prefix: string
}

/** Kinds that are served by default only from this version of Kubernetes on, by `<apiVersion> <kind>`. */
export const servedSince: Readonly<Record<string, string>> = {
  'admissionregistration.k8s.io/v1 MutatingAdmissionPolicy': '1.36',
  'admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding': '1.36',
  'networking.k8s.io/v1 ServiceCIDR': '1.33',
  'resource.k8s.io/v1 DeviceClass': '1.34',
  'resource.k8s.io/v1 ResourceClaim': '1.34',
  'resource.k8s.io/v1 ResourceClaimTemplate': '1.34',
  'storage.k8s.io/v1 VolumeAttributesClass': '1.34',
}

const ASKED_ONLY = 'a question to the API server, which keeps nothing'
const REPORTED = 'reported by a component about itself'
const EVENT = 'told by components, and expires'

/** Kinds of which there is no manifest, by `<group>/<kind>`, and why. */
export const excludedKinds: Readonly<Record<string, string>> = {
  '/Binding': ASKED_ONLY,
  '/ComponentStatus': 'computed when it is read',
  '/Event': EVENT,
  '/Node': 'machines register themselves',
  'apps/ControllerRevision': 'history that controllers keep; it cannot be changed',
  'authentication.k8s.io/SelfSubjectReview': ASKED_ONLY,
  'authentication.k8s.io/TokenReview': ASKED_ONLY,
  'authorization.k8s.io/LocalSubjectAccessReview': ASKED_ONLY,
  'authorization.k8s.io/SelfSubjectAccessReview': ASKED_ONLY,
  'authorization.k8s.io/SelfSubjectRulesReview': ASKED_ONLY,
  'authorization.k8s.io/SubjectAccessReview': ASKED_ONLY,
  'certificates.k8s.io/CertificateSigningRequest': 'a request that is signed once and cannot be changed',
  'coordination.k8s.io/Lease': 'written every few seconds by whoever holds it',
  'events.k8s.io/Event': EVENT,
  'networking.k8s.io/IPAddress': 'kept by the API server for each Service',
  'resource.k8s.io/ResourceSlice': REPORTED,
  'storage.k8s.io/CSINode': REPORTED,
  'storage.k8s.io/CSIStorageCapacity': REPORTED,
  'storage.k8s.io/VolumeAttachment': 'written by the controller that attaches volumes',
}

/** One manifest of every built-in kind that is not excluded, in no particular order. */
export function makeBuiltinKinds(names: ManifestNames): Manifest[] {
  return [...workloadManifests(names), ...clusterManifests(names), ...admissionManifests(names)]
}
