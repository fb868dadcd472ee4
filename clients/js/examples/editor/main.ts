// One text that many write at once, offline as well, with CodeMirror and Yjs.

import { defaultKeymap } from '@codemirror/commands'
import { EditorState } from '@codemirror/state'
import { EditorView, keymap } from '@codemirror/view'
import { Annulus, indexedDb } from 'annulus-client'
import { YjsProvider } from 'annulus-client/yjs'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import * as Y from 'yjs'

const query = new URLSearchParams(location.search)
const db = new Annulus(query.get('server') ?? 'ws://127.0.0.1:9000/v1', { offline: indexedDb('editor') })
const doc = new Y.Doc()
const provider = new YjsProvider(db, 'example', doc)
const name = query.get('name') ?? 'Guest'
provider.awareness?.setLocalStateField('user', { name, color: '#2757c4', colorLight: '#2757c440' })

const text = doc.getText('text')
new EditorView({
  parent: document.getElementById('editor') ?? document.body,
  state: EditorState.create({
    doc: text.toString(),
    extensions: [
      keymap.of([...yUndoManagerKeymap, ...defaultKeymap]),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ 'aria-label': 'Text' }),
      yCollab(text, provider.awareness),
    ],
  }),
})

const status = document.querySelector('[role=status]')
db.subscribe(state => {
  if (status) status.textContent = state === 'open' ? 'Connected' : `${state}: go on, it is kept`
})
