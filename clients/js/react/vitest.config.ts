import { resolve } from 'node:path'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { alias: { 'annulus-client': resolve(import.meta.dirname, '../client/src/index.ts') } },
  test: { include: ['test/**/*.test.{ts,tsx}'], testTimeout: 20_000 },
})
