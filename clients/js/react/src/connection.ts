// How it stands with the connection, and what waits for it.

import type { Annulus, AnnulusError, ConnectionState, Identity } from 'annulus-client'
import { fieldsOf, type None, useSnapshot } from './snapshot'

export interface ConnectionSnapshot {
  state: ConnectionState
  /** Why it is `closed`, if the server or the store has closed it. */
  error: AnnulusError<string> | null
  /** Who the server takes this client for. */
  identity: Identity | null
}

const NONE: ConnectionSnapshot = { state: 'offline', error: null, identity: null }

const read = fieldsOf(({ state, error, identity }: Annulus): ConnectionSnapshot => ({ state, error, identity }))

function follow(client: Annulus, changed: () => void): () => void {
  const ends = [client.on('state', changed), client.on('identity', changed)]
  return () => {
    for (const end of ends) end()
  }
}

/** Without a client it is `offline`. */
export function useConnection(client: Annulus | None): ConnectionSnapshot {
  return useSnapshot(client, follow, read, NONE)
}

const followPending = (client: Annulus, changed: () => void) => client.on('pending', changed)
const readPending = (client: Annulus) => client.pending

/** How many writes wait for the server. */
export function usePending(client: Annulus | None): number {
  return useSnapshot(client, followPending, readPending, 0)
}
