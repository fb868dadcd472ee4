// Who is in a room. Components that look at one room are in it together, until the last of them is gone.

import type { AnnulusError, Json, Member, Room } from 'annulus-client'
import { useEffect } from 'react'
import { fieldsOf, type None, useSnapshot } from './snapshot'

export interface PresenceSnapshot<S> {
  /** Who is here, with oneself, by the order of their names. */
  members: readonly Member<S>[]
  self: Member<S> | undefined
  count: number
  error: AnnulusError<string> | null
}

const NONE: PresenceSnapshot<never> = { members: [], self: undefined, count: 0, error: null }

const read = fieldsOf(({ members, self, count, error }: Room<never>): PresenceSnapshot<never> => {
  return { members, self, count, error }
})

const follow = (room: Room<never>, changed: () => void) => room.subscribe(() => changed())

interface Users {
  joined: number
  watching: number
}

const rooms = new WeakMap<object, Users>()

function usersOf(room: object): Users {
  let users = rooms.get(room)
  if (!users) rooms.set(room, (users = { joined: 0, watching: 0 }))
  return users
}

/** Is in the room with this state while the component is there; without a state it only looks. */
export function usePresence<S = Json>(room: Room<S> | None, state?: S): PresenceSnapshot<S> {
  const isJoining = state !== undefined
  const text = JSON.stringify(state)
  useEffect(() => {
    if (!room) return
    const users = usersOf(room)
    const kind = isJoining ? 'joined' : 'watching'
    users[kind] += 1
    if (!isJoining) room.watch()
    return () => {
      users[kind] -= 1
      if (users.joined > 0 || (!isJoining && users.watching > 0)) return
      room.leave()
      if (users.watching > 0) room.watch()
    }
  }, [room, isJoining])
  useEffect(() => {
    if (!room || text === undefined) return
    const state = JSON.parse(text) as S
    // The second of two that join only has another state.
    if (usersOf(room).joined > 1 || room.self) room.update(state)
    else room.join(state)
  }, [room, text])
  return useSnapshot<Room<S>, PresenceSnapshot<S>>(room, follow as never, read as never, NONE)
}
