// Rooms, in which people are, and channels, in which things are said.

import type { ChannelRow, Member, RoomRow, Said } from '../answers'
import { post } from '../api'
import { type Content, cutJson, field, make, section } from '../element'
import { bytes, count, moment, several } from '../format'
import { List, type ListOf, pager } from '../paging'
import { table } from '../table'
import { anchor, load, type View } from '../view'

export function rooms(view: View): void {
  const ofRooms: ListOf<RoomRow> = {
    path: '/admin/rooms',
    rows: 'rooms',
    noun: ['room', 'rooms'],
    total: 'rooms',
    signal: view.signal,
    columns: [
      { title: 'Room', cell: row => anchor(row.room, 'room', { room: row.room }), isName: true },
      { title: 'Members', cell: row => count(row.members) },
      { title: 'Away', cell: row => count(row.away) },
      { title: 'States', cell: row => bytes(row.bytes) },
      { title: 'Home', cell: row => `shard ${row.home}` },
    ],
    empty: isSearch => (isSearch ? 'No room has a name that begins so.' : 'Nobody is in a room.'),
  }
  const ofChannels: ListOf<ChannelRow> = {
    path: '/admin/channels',
    rows: 'channels',
    noun: ['channel', 'channels'],
    total: 'channels',
    signal: view.signal,
    columns: [
      { title: 'Channel', cell: row => anchor(row.channel, 'channel', { channel: row.channel }), isName: true },
      { title: 'Members', cell: row => count(row.members) },
      { title: 'Messages', cell: row => count(row.messages) },
      { title: 'History', cell: row => bytes(row.bytes) },
      {
        title: 'Offsets',
        cell: row => (row.last_offset === null ? '–' : `${row.first_offset ?? row.last_offset} to ${row.last_offset}`),
      },
      { title: 'Kept', cell: row => (row.is_durable ? 'on disk' : 'in memory') },
      { title: 'Home', cell: row => `shard ${row.home}` },
    ],
    empty: isSearch => (isSearch ? 'No channel has a name that begins so.' : 'There are no channels in memory.'),
  }
  view.show(
    'Rooms and channels',
    section('Rooms', {}, searched('Room begins with', new List(ofRooms))),
    section('Channels', {}, searched('Channel begins with', new List(ofChannels))),
  )
}

function searched<T>(label: string, list: List<T>): Content {
  const prefix = make('input', { autocomplete: 'off' })
  const submit = (event: Event) => {
    event.preventDefault()
    void list.search({ prefix: prefix.value })
  }
  void list.search({})
  const searching = make('div', { class: 'actions' }, make('button', {}, 'Search'))
  return [
    make('form', { class: 'search', role: 'search', 'aria-label': label, submit }, field(label, prefix), searching),
    list.element,
  ]
}

/** Members that are shown at a time. */
const MEMBERS = 50

export function room(view: View): void {
  const name = view.query.get('room') ?? ''
  const place = make('div', {}, 'Asking…')
  const after = ['']
  const again = () => void load(place, view.signal, () => members(name, after, again, view.signal))
  view.show(`Room ${name}`, make('p', {}, anchor('All rooms', 'rooms')), place)
  again()
}

async function members(name: string, after: string[], again: () => void, signal: AbortSignal): Promise<Content> {
  const asked = { room: name, after: after.at(-1), limit: MEMBERS }
  const { members, more } = await post<{ members: Member[]; more: boolean }>('/api/presence', asked, signal)
  const said = `${several(members.length, 'member')}${after.length > 1 || more ? ` on page ${after.length}` : ''}, as of ${moment(Date.now())}.`
  return [
    pager(said, { cursors: after, next: more ? (members.at(-1)?.member ?? '') : null, again }),
    members.length === 0
      ? make(
          'p',
          { class: 'empty' },
          'Nobody of /v1 is in this room. Those who are by SyncKit are counted in the list only.',
        )
      : table(
          `Members of ${name}`,
          [
            {
              title: 'Member',
              cell: row => (row.user === null ? row.member : anchor(row.user, 'clients', { user: row.user })),
              isName: true,
            },
            { title: 'Connections', cell: row => count(row.connections) },
            { title: 'Since', cell: row => moment(row.since) },
            { title: 'Is', cell: row => (row.away ? 'away' : 'here') },
            { title: 'State', cell: row => cutJson(row.state) },
          ],
          members,
        ),
  ]
}

/** Messages that are shown at a time. */
const MESSAGES = 50

export function channel(view: View): void {
  const name = view.query.get('channel') ?? ''
  const place = make('div', {}, 'Asking…')
  const before: (number | undefined)[] = [undefined]
  const again = () => void load(place, view.signal, () => messages(name, before, again, view.signal))
  view.show(`Channel ${name}`, make('p', {}, anchor('All channels', 'rooms')), place)
  again()
}

async function messages(
  name: string,
  before: (number | undefined)[],
  again: () => void,
  signal: AbortSignal,
): Promise<Content> {
  const until = before.at(-1)
  const asked = { channel: name, limit: MESSAGES, ...(until === undefined ? {} : { before: until }) }
  const answer = await post<{ epoch?: string; messages: Said[]; more: boolean }>('/api/history', asked, signal)
  const said = `${several(answer.messages.length, 'message')}, the newest first, as of ${moment(Date.now())}.`
  const next = answer.more ? answer.messages[0]?.offset : null
  return make(
    'div',
    { class: 'stack' },
    pager(said, { cursors: before, next, again, names: ['Newer', 'Older'] }),
    answer.messages.length === 0
      ? make(
          'p',
          { class: 'empty' },
          answer.epoch === undefined ? 'Nothing was ever said here.' : 'Nothing of what was said is kept.',
        )
      : table(
          `Messages of ${name}`,
          [
            { title: 'Offset', cell: row => `${row.offset}`, isName: true },
            { title: 'Time', cell: row => moment(row.time) },
            {
              title: 'From',
              cell: row =>
                row.from === undefined
                  ? make('span', { class: 'soft' }, 'anonymous')
                  : anchor(row.from, 'clients', { user: row.from }),
            },
            { title: 'Data', cell: row => cutJson(row.data) },
          ],
          [...answer.messages].reverse(),
        ),
  )
}
