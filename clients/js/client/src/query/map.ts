// Maps with queries over them.

import { PlainMap } from '../maps/map'
import type { Json } from '../wire'
import { Query, type QueryOptions } from './query'

/** Values by key; of two writes to one key the later one stays. */
export class LwwMap<T = Json> extends PlainMap<T> {
  /** The rows that match, sorted, and kept so. Close it when it is not needed any more. */
  query(options: QueryOptions<T> = {}): Query<T> {
    return new Query<T>(this.entries(), options, this.followers, this.host.batch)
  }
}
