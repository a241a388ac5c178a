// What each refusal means: the words are what kube-apiserver 1.36 was seen to say.
import { expect, test } from 'vitest'
import { isExpired, isStatus, KubeError, parseStatus } from './kube-error.ts'

const refusal = (code: number, message: string, extra: object = {}): KubeError =>
  new KubeError(parseStatus(code, { kind: 'Status', code, message, ...extra }))

test.each([
  [
    403,
    'deployments.apps "web" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "deployments" in API group "apps" in the namespace "shop"',
    'ApplyForbidden',
  ],
  [
    403,
    'roles.rbac.authorization.k8s.io "r" is forbidden: user "x" (groups=["a"]) is attempting to grant RBAC permissions not currently held:',
    'ApplyForbidden',
  ],
  [403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest": privileged', 'ApplyForbidden'],
  [403, 'pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1', 'ApplyRefused'],
  [
    403,
    'serviceaccounts "x" is forbidden: unable to create new content in namespace leaky because it is being terminated',
    'ApplyRefused',
  ],
  [
    403,
    'pods "p" is forbidden: error looking up service account default/default: serviceaccount "default" not found',
    'ApplyRefused',
  ],
  [
    403,
    `configmaps "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`,
    'ApplyRefused',
  ],
  [400, 'admission webhook "w.example.com" denied the request: no', 'ApplyRefused'],
  [
    500,
    'Internal error occurred: failed calling webhook "w.example.com": dial tcp 127.0.0.1:1: connect: connection refused',
    'ApplyRefused',
  ],
  [
    500,
    'failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string',
    'ApplyInvalid',
  ],
  [
    500,
    'failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema',
    'ApplyInvalid',
  ],
  [500, 'etcdserver: request is too large', 'ApplyInvalid'],
  [500, 'etcdserver: leader changed', 'ApiServerUnavailable'],
  [503, 'the server is currently unable to handle the request', 'ApiServerUnavailable'],
  [504, 'Timeout: Too large resource version: 99, current: 5', 'ApiServerUnavailable'],
  [429, 'Too many requests, please try again later.', 'ApiServerUnavailable'],
  [401, 'Unauthorized', 'ApiServerUnavailable'],
  [
    403,
    'things.e.com "g" is forbidden: create not allowed while custom resource definition is terminating',
    'ApplyRefused',
  ],
  [404, 'namespaces "nowhere" not found', 'NamespaceNotFound'],
  [404, 'configmaps "x" not found', 'NotFound'],
  [404, 'the server could not find the requested resource', 'UnknownKind'],
  [409, 'Operation cannot be fulfilled on configmaps "x": the object has been modified', 'ApplyConflict'],
  [413, 'Request entity too large: limit is 3145728', 'ApplyInvalid'],
  [400, 'the name of the object (other) does not match the name on the URL (leaky)', 'ApplyInvalid'],
  [422, 'ConfigMap "x" is invalid: []: Too long: may not be more than 1048576 bytes', 'ApplyInvalid'],
  [422, 'Service "s" is invalid: spec.ports[1].name: Duplicate value: "http"', 'ApplyInvalid'],
  [
    422,
    'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"a":"c"}}: field is immutable',
    'ImmutableField',
  ],
  [
    422,
    'PersistentVolumeClaim "x" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests',
    'ImmutableField',
  ],
  [
    422,
    'RoleBinding.rbac.authorization.k8s.io "x" is invalid: roleRef: Invalid value: {"Name":"b"}: cannot change roleRef',
    'ImmutableField',
  ],
  [
    422,
    `StatefulSet.apps "x" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden`,
    'ImmutableField',
  ],
  [
    422,
    'Service "x" is invalid: spec.clusterIPs[0]: Invalid value: ["10.96.0.78"]: may not change once set',
    'ImmutableField',
  ],
  [
    422,
    'PriorityClass.scheduling.k8s.io "x" is invalid: value: Forbidden: may not be changed in an update.',
    'ImmutableField',
  ],
] as const)('%i %s is %s', (status, message, code) => {
  const error = refusal(status, message)
  expect(error).toMatchObject({ code, status })
  expect(error.message).toBe(message)
})

test('AlreadyExists and Conflict, both 409, are told apart by reason', () => {
  expect(refusal(409, 'configmaps "x" already exists', { reason: 'AlreadyExists' }).code).toBe('AlreadyExists')
})

test('causes are kept, and a terminating namespace is known by its cause', () => {
  const causes = [
    { reason: 'NamespaceTerminating', message: 'namespace x is being terminated', field: 'metadata.namespace' },
  ]
  const error = refusal(403, 'no', { details: { causes } })
  expect(error.code).toBe('ApplyRefused')
  expect(error.causes).toEqual(causes)
})

test('an answer that is no Status still makes a sentence', () => {
  expect(new KubeError(parseStatus(502, '<html>Bad Gateway</html>')).message).toBe('<html>Bad Gateway</html>')
  expect(new KubeError(parseStatus(500, null)).message).toBe('the API server answered 500')
  expect(new KubeError(parseStatus(500, { message: 7, details: { causes: 'x' } })).causes).toEqual([])
})

test('a long message keeps what is refused and why', () => {
  const message = `Job.batch "j" is invalid: spec.template: Invalid value: {${'x'.repeat(5000)}}: field is immutable`
  const error = refusal(422, message)
  expect(error.message.length).toBeLessThanOrEqual(1024)
  expect(error.message).toMatch(/^Job\.batch "j" is invalid.*field is immutable$/)
})

test.each([
  [
    500,
    'failed to create typed patch object (a/b; /v1, Kind=Secret): .stringData.password: expected string, got &value.valueUnstructured{Value:hunter2}',
    '.stringData.password: expected string',
  ],
  [
    500,
    'failed to convert new object: error decoding from json: illegal base64 data at input byte 7, error found in ...|hunter2|...',
    'the API server refuses the Secret (500)',
  ],
  [
    400,
    'admission webhook "w.example.com" denied the request: hunter2 is weak',
    'admission webhook "w.example.com" refuses the Secret',
  ],
  [
    403,
    'admission webhook "w.example.com" denied the request: hunter2 is weak',
    'admission webhook "w.example.com" refuses the Secret',
  ],
  [422, 'Secret "x" is invalid: type: Invalid value: "hunter2": field is immutable', 'refuses the Secret (422)'],
])('of a Secret, %i %s shows only where', (code, message, shown) => {
  const causes = [{ reason: 'FieldValueInvalid', message: 'Invalid value: "hunter2"', field: 'type' }]
  const error = new KubeError(parseStatus(code, { message, code, details: { causes } }), { isSecret: true })
  expect(error.message).toContain(shown)
  expect(`${error.message}${JSON.stringify(error)}${JSON.stringify(error.causes)}`).not.toContain('hunter2')
})

test('of an object with decrypted values no part of the name of an item is shown, brackets in it or not', () => {
  const field = '.spec.containers[0].env[name="a]hunter2[1]"].value'
  const message = `failed to create typed patch object (a/b; apps/v1, Kind=Deployment): ${field}: expected string, got 1`
  const error = new KubeError(parseStatus(500, { message }), { sensitive: true })
  expect(error.message).toContain(': .spec.containers[0].env[…].value: expected string')
  const causes = ['x[0].y', 'env[name="a]hunter2"].value'].map((one) => ({ reason: 'r', message: 'm', field: one }))
  const invalid = new KubeError(parseStatus(422, { message: 'no', details: { causes } }), { sensitive: true })
  expect(invalid.message).toContain('(422): x[0].y, env[…].value')
  expect(invalid.causes.map((cause) => cause.field)).toEqual(['x[0].y', 'env[…].value'])
})

test('of a Secret, missing permission is told in full', () => {
  const message =
    'secrets "x" is forbidden: User "u" cannot patch resource "secrets" in API group "" in the namespace "n"'
  expect(new KubeError(parseStatus(403, { message }), { isSecret: true }).message).toBe(message)
})

test('410 and the reason Expired both mean: list again', () => {
  expect(isExpired(refusal(410, 'too old resource version'))).toBe(true)
  expect(isExpired(new KubeError(parseStatus(500, { reason: 'Expired', message: 'x' })))).toBe(true)
  expect(isExpired(refusal(404, 'x'))).toBe(false)
  expect(isStatus(refusal(404, 'x'), 404)).toBe(true)
})
