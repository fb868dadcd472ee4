// The built server as a process of its own, on a free port of this machine. `ANNULUS_SERVER` names another binary.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { Annulus, type Options } from '../src'

const BINARY = process.env.ANNULUS_SERVER ?? resolve(import.meta.dirname, '../../../../target/debug/annulus')

export class Server {
  #process: ChildProcess | undefined
  address = '127.0.0.1:0'
  /** Where its admin API and console are, if it has been told to serve them. */
  adminAddress = ''

  constructor(private readonly flags: string[]) {}

  get url(): string {
    return `ws://${this.address}/v1`
  }

  /** Starts it, at the address that it had before, and waits until it says where it listens. */
  async start(): Promise<void> {
    const flags = ['--listen', this.address, '--drain-ms', '100', '--cores', '0-1', ...this.flags]
    const server = spawn(BINARY, flags, { env: {}, stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = server
    const lines: string[] = []
    this.address = await new Promise((found, failed) => {
      const said = createInterface({ input: server.stderr as NodeJS.ReadableStream })
      let address = ''
      said.on('line', line => {
        lines.push(line)
        address = /^ *listen +ws:\/\/(.*)\/v1$/.exec(line)?.[1] ?? address
        this.adminAddress = /^ *admin +http:\/\/(.*)\/api$/.exec(line)?.[1] ?? this.adminAddress
        // All addresses stand above.
        if (/^ *cores /.test(line)) found(address)
      })
      said.on('close', () => failed(new Error(`the server ended without an address:\n${lines.join('\n')}`)))
      server.on('error', failed)
    })
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const server = this.#process
    if (!server || server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill(signal)
    await ended
  }
}

/** A folder that is gone with the test. */
export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'annulus-client-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A server that ends with the test. */
export async function startServer(
  options: { onDisk?: boolean; secret?: string; flags?: string[] } = {},
): Promise<Server> {
  const flags = [
    '--storage',
    ...(options.onDisk ? ['disk', '--data-dir', await folder()] : ['memory']),
    ...(options.flags ?? []),
  ]
  if (options.secret !== undefined) {
    const file = join(await folder(), 'secret')
    await writeFile(file, options.secret, { mode: 0o600 })
    flags.push('--auth', 'required', '--jwt-secret-file', file)
  }
  const server = new Server(flags)
  await server.start()
  onTestFinished(() => server.stop('SIGKILL'))
  return server
}

/** A client that ends with the test. */
export function connect(server: { url: string }, options: Options = {}): Annulus {
  const client = new Annulus(server.url, { webSocket: WebSocket, ...options })
  onTestFinished(() => client.close())
  return client
}

/** Waits until something holds, and says what is there instead if it does not. */
export async function until(holds: () => boolean, told: () => unknown = () => '', patienceMs = 10_000): Promise<void> {
  const end = Date.now() + patienceMs
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${holds} ${JSON.stringify(told())}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
