// The three kinds of tests: unit (beside the source, no servers), integration (real servers) and e2e (the whole product).

import { defineConfig } from 'vitest/config'

const never = ['**/node_modules/**', '**/dist/**', '**/gen/**']

export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{proto,shared,hub,agent,e2e,charts}/**/*.test.ts'],
          exclude: [...never, '**/*.integration.test.ts', 'e2e/scenarios/**'],
          // Threads, and an engine that is compiled, are slow to start where the machine is busy.
          testTimeout: 30_000,
          hookTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['{proto,shared,hub,agent,e2e,charts}/**/*.integration.test.ts'],
          exclude: [...never, 'e2e/scenarios/**'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Each file has servers of its own, which use both cores while they start.
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['e2e/scenarios/**/*.test.ts'],
          exclude: never,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // A scenario measures times and has two clusters: one at a time.
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
