// How the editor looks: like the page's view of a file, with the same classes for colours, in both themes.

import { EditorView } from "@codemirror/view";
import { tagHighlighter, tags } from "@lezer/highlight";
import { StyleModule } from "style-mod";

// CodeMirror puts its rules into a `<style>` element, which the content security policy refuses. A sheet that is constructed
// by a script that the policy allows is permitted.
const sheet = new CSSStyleSheet();
const mounted = [];
StyleModule.mount = (root, modules) => {
  const wanted = [modules].flat().filter((module) => !mounted.includes(module));
  if (wanted.length > 0) {
    // The library passes its own rules first, which the themes after them override.
    mounted.push(...wanted);
    sheet.replaceSync(mounted.map((module) => module.getRules()).join("\n"));
  }
  const sheets = (root.ownerDocument ?? root).adoptedStyleSheets;
  if (!sheets.includes(sheet)) sheets.push(sheet);
};

/** The classes that the server's highlighter uses. */
export const colours = tagHighlighter([
  { tag: tags.comment, class: "hc" },
  { tag: [tags.string, tags.regexp, tags.special(tags.string), tags.monospace], class: "hs" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom, tags.color, tags.unit, tags.escape, tags.character], class: "hn" },
  { tag: [tags.keyword, tags.self, tags.operatorKeyword, tags.modifier, tags.definitionKeyword, tags.moduleKeyword, tags.controlKeyword, tags.meta], class: "hk" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.function(tags.variableName)), tags.className, tags.definition(tags.className), tags.heading, tags.standard(tags.variableName)], class: "hf" },
  { tag: [tags.tagName, tags.namespace], class: "ht" },
  { tag: [tags.attributeName, tags.propertyName, tags.definition(tags.propertyName), tags.labelName], class: "ha" },
]);

export const look = EditorView.theme({
  "&": { flex: "1", minHeight: "0", backgroundColor: "var(--surface)", color: "var(--ink)", fontSize: "var(--s)" },
  "&.cm-focused": { outline: "0" },
  // Over the line numbers, too, which would cover an outline.
  "&.cm-focused::after": { content: '""', position: "absolute", inset: "0", zIndex: "3", border: "2px solid var(--accent)", pointerEvents: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", fontVariantLigatures: "none" },
  ".cm-content": { padding: "12px 0", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0 16px 0 6px" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--ink-3)", border: "0" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 10px 0 16px", minWidth: "0" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent) 7%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "transparent", color: "var(--ink)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)", outline: "1px solid var(--accent)" },
  "&.cm-focused .cm-nonmatchingBracket": { backgroundColor: "var(--bad-soft)" },
  ".cm-selectionMatch": { backgroundColor: "var(--accent-soft)" },
  ".cm-searchMatch": { backgroundColor: "var(--warn-soft)", outline: "1px solid var(--warn)" },
  ".cm-searchMatch-selected": { backgroundColor: "var(--warn)", "&, & *": { color: "var(--surface) !important" } },
  ".cm-panels": { backgroundColor: "var(--sunk)", color: "var(--ink)", zIndex: "2" },
  ".cm-panels-top": { borderBottom: "1px solid var(--line)" },
  ".cm-panel.cm-search": { padding: "8px 36px 8px 12px", fontFamily: "var(--font)", fontSize: "var(--s)", display: "flex", flexWrap: "wrap", gap: "6px", alignItems: "center" },
  ".cm-panel.cm-search br": { display: "block", content: '""', flexBasis: "100%", height: "0" },
  ".cm-panel.cm-search input, .cm-panel.cm-search button, .cm-panel.cm-search label": { margin: "0", fontSize: "inherit" },
  ".cm-panel.cm-search label": { display: "flex", alignItems: "center", gap: "4px" },
  ".cm-textfield": { minHeight: "28px", padding: "3px 8px", border: "1px solid var(--line-strong)", borderRadius: "6px", backgroundColor: "var(--surface)", color: "var(--ink)", font: "inherit" },
  ".cm-button": { minHeight: "28px", padding: "3px 10px", border: "1px solid var(--line)", borderRadius: "6px", background: "var(--surface)", color: "var(--ink)", font: "inherit", textTransform: "capitalize", cursor: "pointer" },
  ".cm-button:hover": { background: "var(--hover)" },
  ".cm-panel.cm-search [name=close]": { top: "8px", right: "8px", width: "24px", height: "24px", color: "var(--ink-2)", fontSize: "18px", borderRadius: "6px", cursor: "pointer" },
});
