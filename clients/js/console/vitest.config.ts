import { resolve } from 'node:path'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { alias: { 'annulus-client': resolve(import.meta.dirname, '../client/src/index.ts') } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 40_000,
    hookTimeout: 40_000,
    // One browser.
    fileParallelism: false,
  },
})
