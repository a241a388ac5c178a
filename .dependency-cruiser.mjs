// Import directions, held by a rule instead of memory: proto <- shared <- {hub/server, hub/cli, agent}.
// Stage folders never import each other; only the file that tells the flow (pipeline, reconciler, main) imports several.
const HUB_STAGES =
  'pki|nats|tracker|webhooks|renderer|placer|slicer|publisher|collector|commander|approvals|view|registry|definitions|schemas|api'
const AGENT_STAGES =
  'puller|applier|inventory|policy|pruner|watcher|remediator|health|reporter|enrolment|leader|events|metrics|status'
/** Tests, and what is only made for them. */
const TEST = '(\\.test|-bed)\\.ts$|/testbed/|^agent/reconciler/(history|moves)\\.ts$'
const TEST_SUPPORT = '\\.test-support\\.ts$|/test-support/'

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'shared-knows-only-proto',
      severity: 'error',
      from: { path: '^shared/', pathNot: TEST },
      to: { path: '^(hub|agent|e2e)/' },
    },
    { name: 'agent-never-imports-hub', severity: 'error', from: { path: '^agent/' }, to: { path: '^hub/' } },
    { name: 'hub-never-imports-agent', severity: 'error', from: { path: '^hub/' }, to: { path: '^agent/' } },
    {
      name: 'product-never-imports-tests',
      severity: 'error',
      from: { path: '^(proto|shared|hub|agent)/', pathNot: `${TEST}|${TEST_SUPPORT}` },
      to: { path: `^e2e/|${TEST}|${TEST_SUPPORT}` },
    },
    {
      name: 'server-never-imports-cli',
      severity: 'error',
      from: { path: '^hub/server/' },
      to: { path: '^hub/cli/' },
    },
    {
      name: 'cli-starts-the-hub-and-nothing-else-of-it',
      severity: 'error',
      from: { path: '^hub/cli/', pathNot: TEST },
      to: { path: '^hub/server/', pathNot: '^hub/server/(main|config|validate|definitions/documents)\\.ts$' },
    },
    {
      name: 'hub-stages-stand-alone',
      severity: 'error',
      from: { path: `^hub/server/(${HUB_STAGES})/`, pathNot: TEST },
      to: { path: `^hub/server/(${HUB_STAGES})/`, pathNot: '^hub/server/$1/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'agent-stages-stand-alone',
      severity: 'error',
      from: { path: `^agent/(${AGENT_STAGES})/`, pathNot: TEST },
      to: { path: `^agent/(${AGENT_STAGES})/`, pathNot: '^agent/$1/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-orphans',
      comment: 'A file that nothing imports is dead, unless it is started by name.',
      severity: 'error',
      from: {
        orphan: true,
        pathNot: `${TEST}|-worker\\.ts$|(^|/)(build|main|test|bench|demo)\\.ts$|\\.mjs$|\\.d\\.ts$|^e2e/(tools|bench|demo)/`,
      },
      to: {},
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules|proto/gen' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
