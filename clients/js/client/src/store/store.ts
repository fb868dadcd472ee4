// Where a client keeps what must outlast it: writes that the server has yet to take, and what it has told.

/** A value of a record is JSON; `undefined` removes the record. */
export type StoreChange = readonly [key: string, value: unknown]

/** Records by their keys, such as a table of a database. */
export interface Store {
  /**
   * Names what tabs of one origin share, so that one of them writes replicas and has the connection. Without it the
   * store is this client's alone, and `open` refuses a second one.
   */
  readonly shared?: string
  /** Called when what was kept may be gone, as the user has cleared it: all of it is written again then. */
  onLost?: () => void
  /** Rejects with `storage_in_use` where another client has it open, and with `storage_failed` where it cannot be used. */
  open(): Promise<void>
  /** Records whose keys begin so, in any order. */
  read(prefix: string): Promise<(readonly [key: string, value: unknown])[]>
  /** All of it or nothing, and only after what was written before. */
  write(changes: readonly StoreChange[]): Promise<void>
  /** Removes everything. */
  erase(): Promise<void>
  close(): Promise<void>
}
