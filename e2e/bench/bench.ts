// npm run bench -- <name>: runs one benchmark on real servers, prints a table and, as its last line, one JSON object.
import { ensureTools, toolNames } from '../tools/tools.ts'
import { benchApply } from './apply.ts'
import { benchChurn } from './churn.ts'
import { benchCommit } from './commit.ts'
import { benchConverge } from './converge.ts'
import { benchDrift } from './drift.ts'
import { benchIdle } from './idle.ts'
import { benchLarge } from './large.ts'
import { benchPoll } from './poll.ts'
import { benchRender } from './render.ts'
import { benchRenderCold } from './render-cold.ts'
import { benchRepeat } from './repeat.ts'
import { printReport, type Report } from './report.ts'
import { benchRestart } from './restart.ts'
import { benchVariants } from './variants.ts'

const benches: Readonly<Record<string, () => Promise<Report>>> = {
  apply: benchApply,
  churn: benchChurn,
  commit: benchCommit,
  converge: benchConverge,
  drift: benchDrift,
  idle: benchIdle,
  large: benchLarge,
  poll: benchPoll,
  render: benchRender,
  'render-cold': benchRenderCold,
  repeat: benchRepeat,
  restart: benchRestart,
  variants: benchVariants,
}

const name = process.argv[2] ?? ''
const run = benches[name]
if (!run) {
  console.error(`usage: npm run bench -- <${Object.keys(benches).join('|')}>`)
  process.exit(2)
}
await ensureTools(toolNames)
printReport(await run())
// Watches that a benchmark opened must not keep the finished process alive.
process.exit()
