import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 40_000,
    // The server, and two cores for all of it.
    maxWorkers: 2,
  },
})
