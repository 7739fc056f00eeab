// Which language a file is in, by its name.

import { css } from "@codemirror/lang-css";
import { html } from "@codemirror/lang-html";
import { javascript } from "@codemirror/lang-javascript";
import { json } from "@codemirror/lang-json";
import { markdown } from "@codemirror/lang-markdown";
import { python } from "@codemirror/lang-python";
import { StreamLanguage } from "@codemirror/language";
import { dockerFile } from "@codemirror/legacy-modes/mode/dockerfile";
import { toml } from "@codemirror/legacy-modes/mode/toml";
import { yaml } from "@codemirror/legacy-modes/mode/yaml";

const stream = (mode) => () => StreamLanguage.define(mode);

const byExtension = {
  html, htm: html, jinja: html, j2: html, svg: html, xml: html,
  css,
  js: javascript, mjs: javascript, cjs: javascript,
  jsx: () => javascript({ jsx: true }),
  ts: () => javascript({ typescript: true }),
  tsx: () => javascript({ jsx: true, typescript: true }),
  json, webmanifest: json,
  md: markdown, markdown,
  py: python,
  toml: stream(toml),
  yml: stream(yaml), yaml: stream(yaml),
};

/** The extension that colours and indents a file; none for a name that says nothing. */
export function languageOf(path) {
  const name = path.split("/").at(-1).toLowerCase();
  if (/^(dockerfile|containerfile)(\.|$)/.test(name)) return stream(dockerFile)();
  return (Object.hasOwn(byExtension, name.split(".").at(-1)) ? byExtension[name.split(".").at(-1)]() : null) ?? [];
}

/** What Tab inserts: what the file is indented with already, else what is usual in its language. */
export function unitOf(path, text) {
  const indents = text.slice(0, 20_000).match(/^(?:\t|  +)(?=\S)/gm) ?? [];
  if (indents.some((indent) => indent === "\t")) return "\t";
  const spaces = Math.min(...indents.map((indent) => indent.length));
  if (spaces >= 2 && spaces <= 8) return " ".repeat(spaces);
  return path.endsWith(".py") ? "    " : "  ";
}
