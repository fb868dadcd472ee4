// What documents show: each block of TypeScript in them is compiled, strictly, and run against the real server.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import ts from 'typescript'
import { afterAll, onTestFinished, vi } from 'vitest'
import { WebSocket } from 'ws'

const root = resolve(import.meta.dirname, '../../../..')

const SOURCES: { [name: string]: string } = {
  'annulus-client': 'client/src/index.ts',
  'annulus-client/remote': 'client/src/remote.ts',
  'annulus-client/yjs': 'client/src/yjs.ts',
  'annulus-react': 'react/src/index.ts',
}

const paths = Object.fromEntries(
  Object.entries(SOURCES).map(([name, path]) => [name, join(root, 'clients/js', path)] as const),
)

/** The blocks of a document of this repository, as files beside `beside`, until its tests are over. */
export function blocksOf(document: string, beside: string): string[] {
  const folder = mkdtempSync(join(beside, '.blocks-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const text = readFileSync(join(root, document), 'utf8')
  return [...text.matchAll(/^```(tsx?)\n(.*?)^```/gms)].map(([, kind, code], i) => {
    const file = join(folder, `block-${i}.${kind}`)
    writeFileSync(file, code as string)
    return file
  })
}

/** What the compiler has to say of them. */
export function faultsOf(files: string[]): string[] {
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    jsx: ts.JsxEmit.ReactJSX,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    paths: Object.fromEntries(Object.entries(paths).map(([name, path]) => [name, [path]])),
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
  })
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

/** Runs a block in a page that has `page`, on this server, and returns what it exports. */
export async function run(file: string, url: string, page: object): Promise<Record<string, unknown>> {
  const bundle = file.replace(/\.tsx?$/, '.mjs')
  await build({
    entryPoints: [file],
    outfile: bundle,
    alias: paths,
    external: ['react', 'react-dom'],
    jsx: 'automatic',
    bundle: true,
    format: 'esm',
    target: 'es2022',
  })
  writeFileSync(bundle, readFileSync(bundle, 'utf8').replaceAll('ws://127.0.0.1:9000/v1', url))
  for (const [name, value] of Object.entries({ WebSocket, ...page })) vi.stubGlobal(name, value)
  onTestFinished(() => void vi.unstubAllGlobals())
  return import(/* @vite-ignore */ bundle)
}
