// Queries that the server answers, over maps that are not replicated here.

export { RemoteMap, remoteMap } from './remote/map'
export { RemoteQuery } from './remote/query'
