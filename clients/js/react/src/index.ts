// React's hooks for what an Annulus client shows. Each takes what the client gives, or nothing, as where a page is
// rendered on a server, and has its component rendered again when what it returned is not so any more.

export { useConnection, usePending } from './connection'
export { useKey, useMap } from './maps'
export { usePresence } from './presence'
export { useQuery } from './query'
export { useChannel } from './said'
