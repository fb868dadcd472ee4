// A store in one file, for Node, Deno and Bun: a log of what was written, one line for each `write`.
//
// Invariant: the file, read from its beginning, is what is kept. A line that is not complete is the last one, of a
// write that was never answered, and is cut off. Once most of the log is history it is written anew beside it, and
// takes its place by being renamed.

import { type FileHandle, mkdir, open, readFile, rename, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Offline } from '../engine'
import { AnnulusError } from '../errors'
import { Lasting } from '../lasting'
import { LockFile } from './lockfile'
import type { Store, StoreChange } from './store'

export interface FileOptions {
  /** Whether a write is on the disk when it is answered (`true`), or a power cut may undo it. */
  sync?: boolean
}

/** A file of this client's alone; beside it a file `<path>.lock` keeps others away. */
export function fileStore(path: string, options: FileOptions = {}): Offline {
  return { store: new FileStore(path, options.sync !== false), Lasting }
}

/** Below this no log is worth writing anew. */
const COMPACT_BYTES = 1 << 20

class FileStore implements Store {
  #records = new Map<string, unknown>()
  #file: FileHandle | null = null
  #bytes = 0
  /** What the log would have if it were written anew, about. */
  #liveBytes = 0
  #queue: Promise<void> = Promise.resolve()
  readonly #lock: LockFile

  constructor(
    private readonly path: string,
    private readonly isSynced: boolean,
  ) {
    this.#lock = new LockFile(`${path}.lock`, () => {
      void this.#file?.close()
      this.#file = null
    })
  }

  async open(): Promise<void> {
    try {
      await mkdir(dirname(this.path), { recursive: true })
      await this.#lock.take()
      await this.#load()
      this.#file = await open(this.path, 'a')
    } catch (cause) {
      throw wrapped(cause)
    }
  }

  async read(prefix: string): Promise<[string, unknown][]> {
    return [...this.#records].filter(([key]) => key.startsWith(prefix))
  }

  write(changes: readonly StoreChange[]): Promise<void> {
    const line = `${JSON.stringify(changes.map(([key, value]) => (value === undefined ? [key] : [key, value])))}\n`
    return this.#inOrder(async () => {
      await this.#append(line)
      for (const [key, value] of changes) {
        if (value === undefined) this.#records.delete(key)
        else this.#records.set(key, value)
      }
      if (this.#bytes > COMPACT_BYTES && this.#bytes > 4 * this.#liveBytes) await this.#compact()
    })
  }

  erase(): Promise<void> {
    return this.#inOrder(async () => {
      this.#records.clear()
      await this.#compact()
    })
  }

  close(): Promise<void> {
    return this.#inOrder(async () => {
      if (!this.#file) return
      await this.#file.close()
      this.#file = null
      await this.#lock.release()
    })
  }

  #inOrder(work: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(work).catch(cause => {
      throw wrapped(cause)
    })
    this.#queue = done.catch(() => undefined)
    return done
  }

  async #append(line: string): Promise<void> {
    if (!this.#file) throw new Error('it is closed')
    const before = this.#bytes
    try {
      await this.#file.appendFile(line)
      if (this.isSynced) await this.#file.datasync()
      this.#bytes += Buffer.byteLength(line)
    } catch (cause) {
      // Half a line must not stand before the next one.
      await truncate(this.path, before).catch(() => undefined)
      throw cause
    }
  }

  async #load(): Promise<void> {
    const text = await readFile(this.path, 'utf8').catch(missing)
    const end = text.lastIndexOf('\n') + 1
    for (const line of text.slice(0, end).split('\n')) {
      if (line === '') continue
      for (const [key, value] of JSON.parse(line) as [string, unknown?][]) {
        if (value === undefined) this.#records.delete(key)
        else this.#records.set(key, value)
      }
    }
    this.#bytes = Buffer.byteLength(text.slice(0, end))
    this.#liveBytes = this.#bytes
    if (end < text.length) await truncate(this.path, this.#bytes)
  }

  async #compact(): Promise<void> {
    const beside = `${this.path}.new`
    const line = this.#records.size > 0 ? `${JSON.stringify([...this.#records])}\n` : ''
    const file = await open(beside, 'w')
    await file.writeFile(line)
    if (this.isSynced) await file.datasync()
    await file.close()
    await rename(beside, this.path)
    await this.#file?.close()
    this.#file = await open(this.path, 'a')
    this.#bytes = Buffer.byteLength(line)
    this.#liveBytes = this.#bytes
  }
}

function missing(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return ''
  throw error
}

function wrapped(cause: unknown): AnnulusError {
  return cause instanceof AnnulusError
    ? cause
    : new AnnulusError('storage_failed', `${(cause as Error).message}`, { cause })
}
