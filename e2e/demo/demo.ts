// npm run demo: the main job on real parts, told step by step. Stays up to play on until Ctrl-C; with --once it goes
// through, takes everything down, and exits non-zero if any step did not happen.
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Fleet, startFleet } from '../harness/fleet.ts'
import { ensureTools, toolNames } from '../tools/tools.ts'
import { showFaults } from './faults.ts'
import { showHealing } from './healing.ts'
import { Narrator } from './narrator.ts'
import { setUp } from './set-up.ts'

const { values: flags } = parseArgs({ options: { once: { type: 'boolean', default: false } } })
const narrator = new Narrator()
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort())

try {
  await ensureTools(toolNames, { signal: interrupted.signal })
  await using fleet = await startFleet()
  const shop = await setUp(fleet, narrator)
  await showHealing(fleet, shop, narrator)
  await showFaults(fleet, narrator)
  narrator.say(`\nEverything happened: ${narrator.summary()}.`)
  if (!flags.once) await stayUp(fleet)
} catch (error) {
  if (!interrupted.signal.aborted) {
    console.error(error)
    process.exitCode = 1
  }
}
// What still runs (a watch, a proxy's socket) must not keep a finished demo alive.
process.exit()

async function stayUp(fleet: Fleet): Promise<void> {
  narrator.say('\nIt stays up until Ctrl-C. In another terminal:')
  narrator.say(`  export FAIRLEAD_CONFIG=${fleet.configFile}`)
  narrator.say(`  alias fairlead="${fleet.cliCommand}"`)
  narrator.say('  fairlead status --watch')
  for (const { cluster } of fleet.clusters.values()) {
    narrator.say(`  kubectl --kubeconfig ${cluster.kubeconfigPath} get deployments -A   # ${cluster.name}`)
  }
  narrator.say(`  cd ${fleet.git.folder}/work-trees/shop   # edit, git commit, git push origin main`)
  await delay(2 ** 31 - 1, undefined, { signal: interrupted.signal }).catch(() => undefined)
}
