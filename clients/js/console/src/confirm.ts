// Questions before what cannot be undone.

import { type Content, make } from './element'

export interface Question {
  title: string
  /** What will happen, and to whom. */
  says: Content
  /** What the button that does it is called. */
  action: string
  /** Whether something is lost by it. */
  isDanger?: boolean
}

let questions = 0

/** True only if the button was pressed. The focus begins on Cancel, and comes back to where it was. */
export function confirmed({ title, says, action, isDanger = true }: Question): Promise<boolean> {
  return new Promise(answer => {
    const id = `question-${++questions}`
    const cancel = make('button', { value: '', autofocus: true, class: 'quiet' }, 'Cancel')
    const dialog = make(
      'dialog',
      { 'aria-labelledby': id, 'aria-describedby': `${id}-says` },
      make(
        'form',
        { method: 'dialog' },
        make('h2', { id }, title),
        make('div', { id: `${id}-says`, class: 'says' }, says),
        make(
          'div',
          { class: 'actions' },
          cancel,
          make('button', { value: 'yes', class: isDanger ? 'danger' : '' }, action),
        ),
      ),
    )
    dialog.addEventListener('close', () => {
      dialog.remove()
      answer(dialog.returnValue === 'yes')
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}
