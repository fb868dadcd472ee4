import { resolve } from 'node:path'
import { defineConfig } from 'vite'

const source = (path: string) => resolve(import.meta.dirname, '..', path)

/** The packages as they are now, not as they were when they were built last. */
export const alias = {
  'annulus-client/yjs': source('client/src/yjs.ts'),
  'annulus-client': source('client/src/index.ts'),
  'annulus-react': source('react/src/index.ts'),
}

export default defineConfig({ resolve: { alias }, server: { fs: { allow: [source('.')] } } })
