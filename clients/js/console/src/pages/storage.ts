// What is on the disk, and backups of it.

import type { BackupAnswer, StorageAnswer } from '../answers'
import { post, read } from '../api'
import { confirmed } from '../confirm'
import { type Content, field, fill, make, section } from '../element'
import { bytes, bytesPerSecond, count, duration, micros, moment } from '../format'
import { facts } from '../table'
import { act, every, problem, type View } from '../view'

export async function storage({ signal, show }: View): Promise<void> {
  const figures = make('div', {}, 'Asking…')
  const backups = make('div')
  const directory = make('input', {
    autocomplete: 'off',
    required: true,
    placeholder: '/backups/monday',
    pattern: '/.*',
  })
  const running = make('button', {}, 'Back up now…')
  const submit = (event: Event) => {
    event.preventDefault()
    void backUp(running, directory.value, signal)
  }
  const remark = 'On the host of the server: a whole path, of a directory that is empty or not there.'
  const form = make(
    'form',
    { class: 'search', submit },
    field('Directory', directory, remark),
    make('div', { class: 'actions' }, running),
  )
  const backup = section('Backup', { class: 'panel', hidden: true }, form, backups)
  show('Storage', figures, backup)
  await every(1000, signal, async () => {
    try {
      const answer = await read<StorageAnswer>('/admin/storage', {}, signal)
      fill(figures, answer.storage === 'memory' ? inMemory() : onDisk(answer))
      backup.hidden = answer.storage === 'memory'
      if (answer.storage === 'memory') return
      const last = await read<BackupAnswer>('/admin/backup', {}, signal)
      running.disabled = last.is_running
      fill(backups, backupOf(last))
    } catch (error) {
      if (!signal.aborted && figures.firstElementChild === null) fill(figures, problem(error))
    }
  })
}

function inMemory(): HTMLElement {
  return make(
    'p',
    { class: 'empty' },
    'Maps are kept in memory only: a restart forgets them. With --storage disk and --data-dir they outlast it.',
  )
}

function onDisk(of: StorageAnswer): Content {
  return [
    of.is_read_only &&
      make(
        'p',
        { class: 'alert' },
        'The disk is almost full: no write is taken until there is room. Delete what is not of the server, or enlarge the volume; it goes on by itself.',
      ),
    section(
      'Disk',
      { class: 'panel' },
      facts([
        ['Data directory', make('code', {}, of.data_dir)],
        ['Free', bytes(of.free_bytes)],
        ['Missing until writes are taken', bytes(of.short_bytes)],
        [
          'Write rate, at most',
          of.write_rate_limit_bytes_per_second === 0
            ? 'no limit'
            : bytesPerSecond(of.write_rate_limit_bytes_per_second),
        ],
      ]),
    ),
    section(
      'Journal',
      { class: 'panel' },
      facts([
        ['Size', bytes(of.journal_bytes)],
        ['Segments', count(of.segments)],
        ['Not folded yet', bytes(of.unfolded_bytes)],
        ['Waits to be written', bytes(of.pending_bytes)],
        ['Written since the start', bytes(of.written_bytes)],
        ['Groups', count(of.groups)],
        ['Sync, median', micros(of.sync_p50_us)],
        ['Sync, p99', micros(of.sync_p99_us)],
        ['Sync, p999', micros(of.sync_p999_us)],
      ]),
    ),
    section(
      'Image and folds',
      { class: 'panel' },
      facts([
        ['Image', bytes(of.base_bytes)],
        ['Checkpoints', count(of.checkpoints)],
        ['Last checkpoint, ago', duration(of.checkpoint_age_ms)],
        ['Records folded', count(of.folded_records)],
        ['Compactions', count(of.compactions)],
        ['Loaded from the image', bytes(of.loaded_bytes)],
        ['Backups since the start', count(of.backups)],
      ]),
    ),
  ]
}

function backupOf(of: BackupAnswer): Content {
  if (of.directory === null) return make('p', { class: 'empty' }, 'There was no backup since the start.')
  return [
    facts([
      ['State', of.is_running ? 'under way' : of.error === null ? 'done' : make('span', { class: 'bad' }, 'failed')],
      ['Directory', make('code', {}, of.directory)],
      ['Begun', moment(of.started_unix_ms)],
      ['Ended', moment(of.ended_unix_ms)],
    ]),
    of.is_running && of.progress !== null && make('p', {}, of.progress),
    of.report !== null && make('p', {}, of.report),
    of.error !== null && make('p', { class: 'bad' }, of.error),
  ]
}

async function backUp(pressed: HTMLButtonElement, directory: string, signal: AbortSignal): Promise<void> {
  const says = `It writes a copy of all maps, as they are now, to ${directory} on the host of the server. The server goes on meanwhile; the copy takes as much room as the image and the journal.`
  if (!(await confirmed({ title: 'Back up now?', says, action: 'Back up', isDanger: false }))) return
  await act(pressed, async () => {
    await post('/admin/backup', { directory }, signal)
    return `The backup to ${directory} has begun.`
  })
}
