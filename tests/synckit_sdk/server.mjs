// The built server as a process of its own, on a free port of this machine.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/// Ended with the test `t`, and what it stored removed. With a `secret` it asks everybody for a token that is signed with it.
export async function startServer(t, { onDisk = false, secret = null } = {}) {
  const server = new Server(onDisk ? await mkdtemp(join(tmpdir(), 'annulus-synckit-')) : null)
  if (secret) await server.askForTokens(secret)
  t.after(() => server.remove())
  await server.start('127.0.0.1:0')
  return server
}

class Server {
  constructor(directory) {
    this.directory = directory
    this.folders = directory ? [directory] : []
    this.identity = []
  }

  async askForTokens(secret) {
    const folder = await mkdtemp(join(tmpdir(), 'annulus-secret-'))
    this.folders.push(folder)
    await writeFile(join(folder, 'secret'), secret, { mode: 0o600 })
    this.identity = ['--auth', 'required', '--jwt-secret-file', join(folder, 'secret')]
  }

  get url() {
    return `ws://${this.address}/ws`
  }

  /// Starts it, and waits until the banner names its address.
  async start(listen) {
    const storage = this.directory ? ['disk', '--data-dir', this.directory] : ['memory']
    const flags = ['--listen', listen, '--drain-ms', '200', '--storage', ...storage, ...this.identity]
    this.process = spawn(process.env.ANNULUS_SERVER, flags, { env: {}, stdio: ['ignore', 'ignore', 'pipe'] })
    const lines = []
    this.address = await new Promise((resolve, reject) => {
      const said = createInterface({ input: this.process.stderr })
      said.on('line', line => {
        lines.push(line)
        const listening = /^ *listen +ws:\/\/(.*)\/v1$/.exec(line)
        if (listening) resolve(listening[1])
      })
      said.on('close', () => reject(new Error(`the server ended without an address:\n${lines.join('\n')}`)))
    })
  }

  /// Ends it with `signal` and waits until it is gone.
  async stop(signal = 'SIGTERM') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    const ended = once(this.process, 'exit')
    this.process.kill(signal)
    await ended
  }

  /// Starts it again at the same address, so that its clients find it.
  async startAgain() {
    await this.start(this.address)
  }

  async remove() {
    await this.stop('SIGKILL')
    for (const folder of this.folders) await rm(folder, { recursive: true })
  }
}
