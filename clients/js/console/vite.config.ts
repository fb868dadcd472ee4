import { defineConfig } from 'vite'
import { viteSingleFile } from 'vite-plugin-singlefile'

// One document with its script and style inside, which the server has in its binary (src/service/admin/console.rs).
export default defineConfig({
  root: import.meta.dirname,
  plugins: [viteSingleFile({ removeViteModuleLoader: true })],
  build: { outDir: 'page', emptyOutDir: true, target: 'es2022', modulePreload: false },
})
