// What is said in a channel.

import type { AnnulusError, Channel, ChannelMessage, Json } from 'annulus-client'
import { fieldsOf, type None, useSnapshot } from './snapshot'

export interface ChannelSnapshot<D> {
  /** The last messages, the oldest first. */
  messages: readonly ChannelMessage<D>[]
  error: AnnulusError<string> | null
}

const NONE: ChannelSnapshot<never> = { messages: [], error: null }

const read = fieldsOf(({ messages, error }: Channel<never>): ChannelSnapshot<never> => ({ messages, error }))

const follow = (channel: Channel<never>, changed: () => void) => channel.subscribe(() => changed())

/** Is in the channel while the component is there. */
export function useChannel<D = Json>(channel: Channel<D> | None): ChannelSnapshot<D> {
  return useSnapshot<Channel<D>, ChannelSnapshot<D>>(channel, follow as never, read as never, NONE)
}
