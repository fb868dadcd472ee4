// What a browser knows of the network and of the page. Elsewhere nothing happens.

interface World {
  /** The network is back, or the page is looked at again. */
  online(): void
  /** The network is said to be gone. */
  doubt(): void
}

type Target = {
  addEventListener?: (name: string, f: () => void) => void
  removeEventListener?: (name: string, f: () => void) => void
}

export function watchWorld(world: World): () => void {
  const page = (globalThis as { document?: Target & { visibilityState?: string } }).document
  const visible = () => page?.visibilityState === 'visible' && world.online()
  const watched: [Target | undefined, string, () => void][] = [
    [globalThis as Target, 'online', world.online],
    [globalThis as Target, 'offline', world.doubt],
    [page, 'visibilitychange', visible],
  ]
  for (const [target, name, listener] of watched) target?.addEventListener?.(name, listener)
  return () => {
    for (const [target, name, listener] of watched) target?.removeEventListener?.(name, listener)
  }
}
