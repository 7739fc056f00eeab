// The editor of the Code tab, a script of its own: it is loaded when a file is edited, and puts CodeMirror in the place of the
// text field. The field stays in the form, hidden, and always has the editor's text: sending, keeping unsent text and
// the question before leaving work through it, with and without this script.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { colours, look } from "./editor_look.js";
import { languageOf, unitOf } from "./editor_languages.js";
import { all } from "./page.js";

const editors = new Map();
// Where the cursor was in a file that is shown again, as after a conflict.
const places = new Map();

/** After Escape, Tab moves the focus on, until another key is pressed. The library allows two seconds for that, from now on. */
function leaveOnTab(view) {
  queueMicrotask(() => view.setTabFocusMode(600_000));
  return false;
}

function replace(field) {
  const key = field.dataset.keep;
  const { path } = field.dataset;
  const submit = (name) => () => {
    // Everything that saves is a button of the form.
    field.form.requestSubmit(field.form.querySelector(`button[name="${name}"]`));
    return true;
  };
  const follow = EditorView.updateListener.of((update) => {
    if (!update.docChanged) return;
    field.value = update.state.doc.toString();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  const hadFocus = document.activeElement === field;
  const place = places.get(key);
  const length = field.value.length;
  const at = hadFocus ? { anchor: field.selectionStart, head: field.selectionEnd } : place?.selection;
  const selection = at && { anchor: Math.min(at.anchor, length), head: Math.min(at.head, length) };
  const hint = document.getElementById("editor-keys");
  if (hint) hint.hidden = false;
  const view = new EditorView({
    doc: field.value,
    selection,
    extensions: [
      Prec.highest(keymap.of([
        { key: "Mod-s", run: submit("stay"), preventDefault: true },
        { key: "Mod-Enter", run: submit("close") },
        { key: "Escape", run: leaveOnTab },
      ])),
      lineNumbers(),
      highlightActiveLine(),
      highlightActiveLineGutter(),
      history(),
      indentOnInput(),
      bracketMatching(),
      highlightSelectionMatches(),
      search({ top: true }),
      keymap.of([...searchKeymap, ...historyKeymap, indentWithTab, ...defaultKeymap]),
      indentUnit.of(unitOf(path, field.value)),
      EditorState.tabSize.of(4),
      languageOf(path),
      syntaxHighlighting(colours),
      look,
      EditorView.contentAttributes.of({
        // It can have the focus anyway; accessibility checks look for the attribute.
        tabindex: "0",
        "aria-label": `Content of ${path}`,
        "aria-describedby": "editor-keys",
        autocapitalize: "off",
        spellcheck: "false",
      }),
      follow,
    ],
  });
  field.before(view.dom);
  field.hidden = true;
  // Text that is put into the field from outside: unsent text that is used again.
  field.addEventListener("input", () => {
    const now = view.state.doc.toString();
    if (field.value !== now) view.dispatch({ changes: { from: 0, to: now.length, insert: field.value } });
  });
  field.focus = (options) => {
    view.focus();
    if (!options?.preventScroll) view.dispatch({ scrollIntoView: true });
  };
  editors.set(field, view);
  if (place) view.scrollDOM.scrollTop = place.top;
  const line = Number(/^#L(\d+)$/.exec(location.hash)?.[1]);
  if (line >= 1 && line <= view.state.doc.lines && !place) {
    const from = view.state.doc.line(line).from;
    view.dispatch({ selection: { anchor: from }, effects: EditorView.scrollIntoView(from, { y: "center" }) });
  }
  if (hadFocus || document.activeElement === document.body || document.activeElement === null) view.focus();
}

function refresh() {
  for (const [field, view] of editors) {
    if (field.isConnected && view.dom.isConnected) continue;
    places.set(field.dataset.keep, { selection: view.state.selection.main.toJSON(), top: view.scrollDOM.scrollTop });
    view.destroy();
    editors.delete(field);
  }
  for (const field of all("[data-editor]")) if (!editors.has(field)) replace(field);
}

refresh();
document.addEventListener("htmx:after:swap", refresh);
