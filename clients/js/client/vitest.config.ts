import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    // The server, and two cores for all of it.
    maxWorkers: 2,
  },
})
