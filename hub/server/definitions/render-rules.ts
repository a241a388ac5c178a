// What an Application's render options must be.
import type { HelmOptions, RenderOptions } from '@fairlead/proto/definitions'
import { API_VERSION, KUBE_VERSION } from '../capabilities.ts'
import type { FieldProblem } from './document-shape.ts'

const MAX_VALUE_FILES = 50
const MAX_API_VERSIONS = 500
const MAX_PATH_LENGTH = 1_024
/** Helm's own rule for names of releases (helm.sh/helm/v4/pkg/chart/v2/util, validate_name.go). */
const RELEASE_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const RELEASE_NAME_MAX = 53

/** Everything that is wrong with `spec.render`. */
export function findRenderProblems(options: RenderOptions | undefined): FieldProblem[] {
  if (!options) return []
  const given = (['plain', 'kustomize', 'helm'] as const).filter((tool) => options[tool] !== undefined)
  const several = `give one of plain, kustomize and helm, not ${given.join(' and ')}`
  return [
    ...(given.length > 1 ? [{ field: 'spec.render', message: several }] : []),
    ...(options.helm ? findHelmProblems('spec.render.helm', options.helm) : []),
  ]
}

function findHelmProblems(field: string, helm: HelmOptions): FieldProblem[] {
  const message = findReleaseNameProblem(helm.releaseName)
  return [
    ...(message === undefined ? [] : [{ field: `${field}.releaseName`, message }]),
    ...findCapabilitiesProblem(`${field}.capabilities`, helm.capabilities),
    ...findValuesProblems(field, helm),
  ]
}

function findCapabilitiesProblem(field: string, capabilities: string): FieldProblem[] {
  if (['', 'cluster'].includes(capabilities)) return []
  return [
    { field, message: `${quote(capabilities)} is not "cluster"; leave it out to render the same for all clusters` },
  ]
}

/** Everything that is wrong with what a chart is given, at `field`. */
export function findValuesProblems(
  field: string,
  { valueFiles, kubeVersion, apiVersions }: Pick<HelmOptions, 'valueFiles' | 'kubeVersion' | 'apiVersions'>,
): FieldProblem[] {
  const at = (name: string, message: string | undefined): FieldProblem[] =>
    message === undefined ? [] : [{ field: `${field}.${name}`, message }]
  return [
    ...at('valueFiles', valueFiles.length > MAX_VALUE_FILES ? `are more than ${MAX_VALUE_FILES}` : undefined),
    ...valueFiles.flatMap((file, index) => at(`valueFiles[${index}]`, findValueFileProblem(file))),
    ...at('kubeVersion', findKubeVersionProblem(kubeVersion)),
    ...at('apiVersions', apiVersions.length > MAX_API_VERSIONS ? `are more than ${MAX_API_VERSIONS}` : undefined),
    ...apiVersions.flatMap((version, index) => at(`apiVersions[${index}]`, findApiVersionProblem(version))),
  ]
}

function findReleaseNameProblem(name: string): string | undefined {
  if (name === '' || (name.length <= RELEASE_NAME_MAX && RELEASE_NAME.test(name))) return undefined
  return `${quote(name)} is not the name of a release: at most ${RELEASE_NAME_MAX} lower-case letters, digits, "-" and "."`
}

/** Whether `..` leads out of the repository depends on the path of the source: the renderer sees to that. */
function findValueFileProblem(file: string): string | undefined {
  if (file === '') return 'is empty'
  if (file.length > MAX_PATH_LENGTH) return `is longer than ${MAX_PATH_LENGTH} characters`
  if (/^[a-z][a-z0-9+.-]*:/i.test(file)) return `${quote(file)} is remote; value files are files of the same repository`
  if (file.startsWith('/')) return 'must be relative to the path of the source: leave the first "/" out'
  if (file.startsWith('-')) return `${quote(file)} begins like an option; write ./${file}`
  if (/[\0\\]/.test(file)) return 'must not contain a backslash; folders are separated by "/"'
  return undefined
}

function findKubeVersionProblem(version: string): string | undefined {
  return version === '' || KUBE_VERSION.test(version) ? undefined : `${quote(version)} is not a version such as v1.34.2`
}

function findApiVersionProblem(version: string): string | undefined {
  if (API_VERSION.test(version)) return undefined
  return `${quote(version)} is neither of the form group/version nor group/version/Kind`
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}
