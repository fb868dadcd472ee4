import { defineConfig } from 'tsup'

export default defineConfig({
  entry: ['src/index.ts', 'src/core.ts', 'src/node.ts', 'src/remote.ts', 'src/yjs.ts'],
  format: ['esm', 'cjs'],
  target: 'es2022',
  dts: { compilerOptions: { stripInternal: true } },
  clean: true,
  sourcemap: true,
  splitting: true,
  treeshake: true,
})
