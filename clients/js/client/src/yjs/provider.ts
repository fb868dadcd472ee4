// A document of Yjs that many share. What is written goes over a channel, at once, and a moment later into a map,
// where it stays: in the outbox while there is no connection, on the server for whoever comes later.
//
// Invariant: the channel only makes it fast. Whatever is in the document of anybody who has a connection is in the map
// soon, be it that who wrote it is gone: then somebody who has heard it writes it.

import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'
import type { Channel } from '../channel'
import { randomName } from '../clock'
import type { Annulus } from '../core'
import { Emitter } from '../emitter'
import { decode, encode } from './base64'
import { Blobs } from './blobs'
import { Here } from './here'

export interface YjsProviderOptions {
  /** Who is here; else the provider makes one. `null`: nobody asks. */
  awareness?: Awareness | null
  /** More blobs than so many in the map become one (64). */
  compactAfter?: number
}

interface Events {
  /** The document is what the server has. */
  synced: boolean
  error: unknown
}

interface Said {
  from: string
  /** The blob that will have it. */
  id: string
  update: string
}

/** What is written in so long is one blob. */
const KEEP_MS = 1_000
/** Without a connection a tab may be closed at any time. */
const KEEP_OFFLINE_MS = 100
/** After so long somebody else's update that is in no blob is written by whoever has heard it. */
const RESCUE_MS = 5_000
/** Who compacts waits up to so long, so that mostly one does. */
const COMPACT_MS = 3_000

export class YjsProvider extends Emitter<Events> {
  readonly awareness: Awareness | null
  readonly #session = randomName()
  readonly #channel: Channel<Said>
  readonly #map
  readonly #blobs: Blobs
  readonly #here: Here | null
  readonly #compactAfter: number
  readonly #ends: (() => void)[] = []
  /** What is to be in the next blob. */
  #written: Uint8Array[] = []
  #count = 0
  #keepTimer: ReturnType<typeof setTimeout> | undefined
  #compactTimer: ReturnType<typeof setTimeout> | undefined
  /** Updates of others that are in no blob yet, by the blob that should have them. */
  readonly #heard = new Map<string, { updates: Uint8Array[]; timer: ReturnType<typeof setTimeout> }>()
  #isSynced = false
  #isEnded = false

  /** `name`: of the document; its map and its channels are `yjs:<name>` and `yjs:<name>:here`. */
  constructor(
    private readonly db: Annulus,
    name: string,
    readonly doc: Y.Doc,
    options: YjsProviderOptions = {},
  ) {
    super()
    this.#compactAfter = options.compactAfter ?? 64
    this.awareness = options.awareness === undefined ? new Awareness(doc) : options.awareness
    this.#map = db.map<string>(`yjs:${name}`)
    this.#blobs = new Blobs(this.#map, (id, update) => this.#came(id, update))
    this.#channel = db.channel<Said>(`yjs:${name}`)
    this.#here = this.awareness && new Here(db.channel(`yjs:${name}:here`), this.awareness, this.#session)

    this.#blobs.begin()
    const updated = (update: Uint8Array, origin: unknown) => origin !== this && this.#update(update)
    doc.on('update', updated)
    this.#ends.push(
      () => doc.off('update', updated),
      this.#map.subscribe((_, changes) => this.#blobs.changed(changes)),
      this.#channel.on('message', ({ data }) => this.#listen(data)),
      this.#channel.on('error', error => this.emit('error', error)),
      db.on('state', state => (state === 'open' ? this.#connected() : this.#interrupted())),
    )
    this.#channel.join()
    this.#own()
    if (db.state === 'open') this.#connected()
    if (typeof addEventListener === 'function') {
      const hidden = () => this.#keep()
      addEventListener('pagehide', hidden)
      this.#ends.push(() => removeEventListener('pagehide', hidden))
    }
  }

  /** Whether the document is what the server has, but for changes on their way. */
  get isSynced(): boolean {
    return this.#isSynced
  }

  /** Resolves once the document is what the server has, and the server has all that was written to it here. */
  async synced(): Promise<void> {
    this.#keep()
    await this.#map.synced()
  }

  /** Ends it. What was written stays written. */
  destroy(): void {
    if (this.#isEnded) return
    this.#keep()
    this.#isEnded = true
    clearTimeout(this.#compactTimer)
    for (const { timer } of this.#heard.values()) clearTimeout(timer)
    for (const end of this.#ends) end()
    this.#here?.end()
    this.#channel.leave()
    this.#map.close()
  }

  /** What the document had before there was a provider is written as anything else. */
  #own(): void {
    if (this.doc.store.clients.size === 0) return
    void this.#map.synced().then(
      () => {
        if (!this.#isEnded) this.#update(Y.encodeStateAsUpdate(this.doc))
      },
      () => undefined,
    )
  }

  #connected(): void {
    this.#here?.connected()
    void this.#catchUp().catch(error => {
      // The next connection does it again.
      if (!this.#isEnded && error.code !== 'connection_lost' && error.code !== 'closed') this.emit('error', error)
    })
  }

  async #catchUp(): Promise<void> {
    await this.#map.synced()
    if (this.#isEnded || this.db.state !== 'open') return
    this.#setSynced(true)
    // The last of what was said, which may not be in the map yet.
    const { messages } = await this.#channel.history()
    for (const { data } of messages) this.#listen(data)
  }

  #interrupted(): void {
    this.#setSynced(false)
    this.#here?.interrupted()
    if (this.#written.length > 0) this.#keepIn(KEEP_OFFLINE_MS)
  }

  #setSynced(isSynced: boolean): void {
    if (this.#isSynced === isSynced) return
    this.#isSynced = isSynced
    this.emit('synced', isSynced)
  }

  #update(update: Uint8Array): void {
    this.#written.push(update)
    if (this.db.state === 'open') {
      const said = { from: this.#session, id: `${this.#session}-${this.#count}`, update: encode(update) }
      // What is not said is in the map soon.
      this.#channel.publish(said).catch(() => undefined)
    }
    this.#keepIn(this.db.state === 'open' ? KEEP_MS : KEEP_OFFLINE_MS)
  }

  #listen(said: Said): void {
    const update = decode(said?.update)
    if (this.#isEnded || !update || said.from === this.#session || !this.#apply(update)) return
    const { id } = said
    if (this.#blobs.has(id)) return
    const heard = this.#heard.get(id)
    if (heard) heard.updates.push(update)
    else this.#heard.set(id, { updates: [update], timer: setTimeout(() => this.#rescue(id), rescueMs()) })
  }

  #rescue(id: string): void {
    const heard = this.#heard.get(id)
    this.#heard.delete(id)
    if (!heard || this.#isEnded) return
    this.#written.push(...heard.updates)
    this.#keep()
  }

  #came(id: string, update: Uint8Array): boolean {
    clearTimeout(this.#heard.get(id)?.timer)
    this.#heard.delete(id)
    if (this.#blobs.count >= this.#compactAfter) this.#compactSoon()
    return this.#apply(update)
  }

  #compactSoon(): void {
    this.#compactTimer ??= setTimeout(() => void this.#compact(), Math.random() * COMPACT_MS)
  }

  #apply(update: Uint8Array): boolean {
    try {
      Y.applyUpdate(this.doc, update, this)
      return true
    } catch (error) {
      // Whoever may write here may write what is no update.
      this.emit('error', error)
      return false
    }
  }

  #keepIn(ms: number): void {
    this.#keepTimer ??= setTimeout(() => this.#keep(), ms)
  }

  #keep(): void {
    clearTimeout(this.#keepTimer)
    this.#keepTimer = undefined
    if (this.#written.length === 0 || this.#isEnded) return
    const update = Y.mergeUpdates(this.#written)
    this.#written = []
    const id = `${this.#session}-${this.#count++}`
    this.#blobs.put(id, update).catch(error => this.emit('error', error))
  }

  async #compact(): Promise<void> {
    this.#compactTimer = undefined
    if (this.#isEnded || !this.#isSynced || this.#blobs.count <= this.#compactAfter) return
    this.#keep()
    // The document has all of these.
    const ids = this.#blobs.ids()
    const id = `${this.#session}-${this.#count++}`
    try {
      await this.#blobs.put(id, Y.encodeStateAsUpdate(this.doc), 'durable')
    } catch (error) {
      this.emit('error', error)
      return
    }
    if (!this.#isEnded) for (const old of ids) this.#blobs.remove(old)
  }
}

function rescueMs(): number {
  return RESCUE_MS * (1 + Math.random())
}
