// Listeners by the name of an event. One that throws keeps nobody else from hearing.

export type Unsubscribe = () => void

export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>()

  on<E extends keyof Events>(name: E, listener: (event: Events[E]) => void): Unsubscribe {
    let set = this.#listeners.get(name)
    if (!set) this.#listeners.set(name, (set = new Set()))
    // A listener that is given twice is two.
    const own = (event: Events[E]) => listener(event)
    set.add(own)
    return () => set.delete(own)
  }

  has(name: keyof Events): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0
  }

  emit<E extends keyof Events>(name: E, event: Events[E]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) call(() => listener(event as never))
  }
}

/** Calls what belongs to the application; what it throws is reported as any uncaught error, later. */
export function call(listener: () => void): void {
  try {
    listener()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
