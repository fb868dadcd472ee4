import { resolve } from 'node:path'
import { defineConfig } from 'vite'
import { viteSingleFile } from 'vite-plugin-singlefile'

// One document with its script and style inside, which the server has in its binary (src/cli/front_page.rs).
export default defineConfig({
  root: import.meta.dirname,
  // The client as it is now, not as it was when it was built last.
  resolve: { alias: { 'annulus-client': resolve(import.meta.dirname, '../client/src/index.ts') } },
  plugins: [viteSingleFile({ removeViteModuleLoader: true })],
  build: { outDir: 'page', emptyOutDir: true, target: 'es2022', modulePreload: false },
})
