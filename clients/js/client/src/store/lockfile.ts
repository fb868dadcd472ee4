// A file beside another that says which process has it. The system has no lock that Node can take, so it holds the
// number of the process and is touched now and then: one whose process is gone, or has not touched it for long, is
// nobody's.

import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { randomName } from '../clock'
import { AnnulusError } from '../errors'

const TOUCHED_EVERY_MS = 5_000
const ABANDONED_MS = 30_000

/** Those of this process. After a restart another process may have the same number, as in a container. */
const held = new Set<string>()

export class LockFile {
  readonly #content = `${process.pid} ${randomName()}`
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(
    private readonly path: string,
    private readonly lost: () => void,
  ) {}

  /** Rejects with `storage_in_use` where somebody has it. */
  async take(): Promise<void> {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        await writeFile(this.path, this.#content, { flag: 'wx' })
        held.add(this.path)
        this.#timer = setInterval(() => void this.#touch(), TOUCHED_EVERY_MS)
        this.#timer.unref()
        return
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      if (!(await this.#isAbandoned())) break
      await rm(this.path, { force: true })
    }
    throw new AnnulusError('storage_in_use', `another client has it open, says ${this.path}`)
  }

  async release(): Promise<void> {
    clearInterval(this.#timer)
    if (held.delete(this.path)) await rm(this.path, { force: true })
  }

  async #isAbandoned(): Promise<boolean> {
    const content = await readFile(this.path, 'utf8').catch(() => null)
    if (content === null) return true
    const touched = await stat(this.path).catch(() => null)
    if (!touched || Date.now() - touched.mtimeMs > ABANDONED_MS) return true
    const pid = Number.parseInt(content, 10)
    if (pid === process.pid) return !held.has(this.path)
    // One without a number is just being written.
    return pid > 0 && !isAlive(pid)
  }

  async #touch(): Promise<void> {
    const content = await readFile(this.path, 'utf8').catch(() => null)
    if (content === this.#content) return utimes(this.path, new Date(), new Date()).catch(() => undefined)
    // This process stood still for so long that another one took over.
    clearInterval(this.#timer)
    held.delete(this.path)
    this.lost()
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
