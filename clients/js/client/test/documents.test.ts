// What docs/client.md and the README of annulus-react show is compiled, strictly.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import ts from 'typescript'
import { expect, onTestFinished, test } from 'vitest'

const root = resolve(import.meta.dirname, '../../../..')
const source = (path: string) => [join(root, 'clients/js', path)]

test('every block compiles', () => {
  const folder = mkdtempSync(join(import.meta.dirname, '.documents-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const files = ['docs/client.md', 'clients/js/react/README.md'].flatMap((path, i) => {
    const blocks = [...readFileSync(join(root, path), 'utf8').matchAll(/^```(tsx?)\n(.*?)^```/gms)]
    expect(blocks.length, path).toBeGreaterThan(0)
    return blocks.map(([, kind, code], j) => {
      const file = join(folder, `block-${i}-${j}.${kind}`)
      writeFileSync(file, code as string)
      return file
    })
  })
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    jsx: ts.JsxEmit.ReactJSX,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    paths: {
      'annulus-client': source('client/src/index.ts'),
      'annulus-client/yjs': source('client/src/yjs.ts'),
      'annulus-react': source('react/src/index.ts'),
    },
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
  })
  const faults = ts.getPreEmitDiagnostics(program)
  expect(faults.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([])
}, 120_000)
