// A store in IndexedDB, which all tabs of an origin share.

import type { Offline } from '../engine'
import { AnnulusError } from '../errors'
import { Lasting } from '../lasting'
import { Tabs } from '../tabs/tabs'
import type { Store, StoreChange } from './store'

const TABLE = 'records'

/** `name`: one for each application and user, as what is written by one user is sent as that one. */
export function indexedDb(name: string): Offline {
  return { store: new IndexedDbStore(`annulus:${name}`), Lasting, Tabs }
}

class IndexedDbStore implements Store {
  onLost?: () => void
  #database: IDBDatabase | null = null

  constructor(readonly shared: string) {}

  async open(): Promise<void> {
    if (typeof indexedDB === 'undefined') throw new AnnulusError('storage_failed', 'there is no IndexedDB here')
    const request = indexedDB.open(this.shared, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE)
    const database = await result(request)
    // Its user has cleared the data of the site, or another tab erases it: the next write opens it again.
    database.onclose = () => this.#lost(database)
    database.onversionchange = () => {
      database.close()
      this.#lost(database)
    }
    this.#database = database
  }

  async read(prefix: string): Promise<[string, unknown][]> {
    const table = await this.#table('readonly')
    // Behind every key that begins so: no key has this code point.
    const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`)
    const [keys, values] = await Promise.all([result(table.getAllKeys(range)), result(table.getAll(range))])
    return keys.map((key, i) => [key as string, values[i]])
  }

  async write(changes: readonly StoreChange[]): Promise<void> {
    const table = await this.#table('readwrite')
    for (const [key, value] of changes) {
      if (value === undefined) table.delete(key)
      else table.put(value, key)
    }
    await done(table.transaction)
  }

  async erase(): Promise<void> {
    const table = await this.#table('readwrite')
    table.clear()
    await done(table.transaction)
  }

  async close(): Promise<void> {
    this.#database?.close()
    this.#database = null
  }

  async #table(mode: IDBTransactionMode): Promise<IDBObjectStore> {
    if (!this.#database) await this.open()
    try {
      return (this.#database as unknown as IDBDatabase).transaction(TABLE, mode).objectStore(TABLE)
    } catch (cause) {
      throw new AnnulusError('storage_failed', `IndexedDB: ${cause}`, { cause })
    }
  }

  #lost(database: IDBDatabase): void {
    if (this.#database !== database) return
    this.#database = null
    this.onLost?.()
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(failed(request.error))
  })
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(failed(transaction.error))
    transaction.onerror = () => reject(failed(transaction.error))
  })
}

function failed(cause: DOMException | null): AnnulusError {
  return new AnnulusError('storage_failed', `IndexedDB: ${cause?.name ?? 'aborted'}: ${cause?.message ?? ''}`, {
    cause,
  })
}
