//! Source code in colours: a few classes that the style sheet knows, nothing inline.
//!
//! The grammars are unpacked when the first file is shown, and kept. Slow for long files:
//! call it off the async threads.

use std::fmt::Write as _;
use std::sync::LazyLock;

use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

use super::format::Html;

/// Beyond this many bytes a file is shown without colours.
pub const COLOUR_LIMIT: usize = 200 * 1024;
/// A line longer than this is shown without colours: minified code.
const LINE_LIMIT: usize = 2_000;

static GRAMMARS: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

/// Which class a scope has; the innermost that has one wins.
static CLASSES: LazyLock<Vec<(Scope, &'static str)>> = LazyLock::new(|| {
    [
        ("comment", "hc"),
        ("punctuation.definition.comment", "hc"),
        ("string", "hs"),
        ("constant", "hn"),
        ("keyword", "hk"),
        ("storage", "hk"),
        ("entity.name.tag", "ht"),
        ("entity.other.attribute-name", "ha"),
        ("entity.name", "hf"),
        ("support.function", "hf"),
        ("variable.function", "hf"),
        ("support.type.property-name", "ha"),
        ("support.constant", "hn"),
        ("meta.property-name", "ha"),
        ("variable.language", "hk"),
        ("markup.heading", "hf"),
        ("markup.raw", "hs"),
    ]
    .into_iter()
    .filter_map(|(scope, class)| Some((Scope::new(scope).ok()?, class)))
    .collect()
});

/// Renders a file's text by its name. Every byte of it appears, escaped.
pub fn render(file_name: &str, text: &str) -> Html {
    let mut out = String::with_capacity(text.len() * 2);
    let grammar = if text.len() > COLOUR_LIMIT { None } else { grammar_of(file_name, text) };
    match grammar {
        Some(grammar) => coloured(grammar, text, &mut out),
        None => escape_into(text, &mut out),
    }
    Html(out)
}

fn grammar_of(file_name: &str, text: &str) -> Option<&'static SyntaxReference> {
    let extension = file_name.rsplit('.').next().unwrap_or_default();
    let near = match extension {
        "ts" | "tsx" | "jsx" | "mjs" | "cjs" => "js",
        "toml" | "conf" | "cfg" => "ini",
        other => other,
    };
    GRAMMARS
        .find_syntax_by_extension(near)
        .or_else(|| GRAMMARS.find_syntax_by_extension(file_name))
        .or_else(|| GRAMMARS.find_syntax_by_first_line(text))
}

fn coloured(grammar: &SyntaxReference, text: &str, out: &mut String) {
    let mut state = ParseState::new(grammar);
    let mut stack = ScopeStack::new();
    let mut open: &str = "";
    for line in text.split_inclusive('\n') {
        let ops =
            if line.len() > LINE_LIMIT { Vec::new() } else { state.parse_line(line, &GRAMMARS).unwrap_or_default() };
        let mut from = 0;
        for (at, op) in &ops {
            emit(&line[from..*at], class_of(&stack), &mut open, out);
            from = *at;
            // A grammar that pops too much loses its colours, not the text.
            let _ = stack.apply(op);
        }
        emit(&line[from..], class_of(&stack), &mut open, out);
    }
    if !open.is_empty() {
        out.push_str("</span>");
    }
}

/// Writes a piece, reusing the open element when its class is the same.
fn emit<'a>(piece: &str, class: &'a str, open: &mut &'a str, out: &mut String) {
    if piece.is_empty() {
        return;
    }
    if *open != class && !piece.trim().is_empty() {
        if !open.is_empty() {
            out.push_str("</span>");
        }
        if !class.is_empty() {
            let _ = write!(out, r#"<span class="{class}">"#);
        }
        *open = class;
    }
    escape_into(piece, out);
}

fn class_of(stack: &ScopeStack) -> &'static str {
    for scope in stack.as_slice().iter().rev() {
        if let Some((_, class)) = CLASSES.iter().find(|(prefix, _)| prefix.is_prefix_of(*scope)) {
            return class;
        }
    }
    ""
}

/// Escapes text for HTML.
pub fn escape_into(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(html: &str) -> String {
        scraper::Html::parse_fragment(&format!("<pre>\n{html}</pre>")).root_element().text().collect()
    }

    #[test]
    fn every_byte_of_a_file_is_shown() {
        for (name, text) in [
            ("main.py", "# a <b>\ndef f(x: int) -> str:\n    return \"<script>\" + 'é'\n"),
            ("index.html", "<!doctype html>\n<p class=\"a\">&amp;</p><script>let a = 1 < 2;</script>\n"),
            ("style.css", "a { color: #fff; }\n"),
            ("script.js", "const f = () => `x ${1}`; // done\n"),
            ("app.toml", "schedule = \"*/5 * * * *\"\n"),
            ("Dockerfile", "FROM x\nRUN y\n"),
            ("none.zzz", "plain & <plain>"),
            ("empty.py", ""),
        ] {
            assert_eq!(text_of(&render(name, text).0), text, "{name}");
        }
    }

    #[test]
    fn python_has_colours() {
        let html = render("main.py", "# why\ndef f():\n    return 'x'\n").0;
        for piece in
            [r#"<span class="hc"># why"#, r#"<span class="hk">def"#, r#"<span class="hf">f"#, r#"<span class="hs">"#]
        {
            assert!(html.contains(piece), "{piece} in {html}");
        }
    }

    #[test]
    fn long_files_and_lines_are_shown_plain() {
        let text = format!("x = '{}'\n", "<".repeat(5_000));
        assert_eq!(text_of(&render("main.py", &text).0), text);
    }
}
