//! Syntax highlighting of source code, with a few CSS classes and no inline styles.
//!
//! The grammars are unpacked when the first file is shown, and stay in memory. Some of their patterns take time that
//! grows with the square of a line's length, so lines and the time for a file are bounded. Results are
//! cached. CPU-bound: call it off the async threads.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

use super::format::Html;
use crate::bounded_work::{Budget, Kept};

/// A file longer than this many bytes is not highlighted.
pub const COLOUR_LIMIT: usize = 200 * 1024;
/// A line longer than this many bytes is not highlighted: minified code.
const LINE_LIMIT: usize = 1_000;
/// Bytes of the first line that are used to detect a file's grammar.
const FIRST_LINE_LIMIT: usize = 200;
/// Deadline for highlighting one file.
pub const COLOUR_TIME: Duration = Duration::from_millis(1500);
/// Size of the cache of highlighted files, in bytes.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// How long a partially highlighted file stays in the cache before highlighting is retried.
const KEPT_HALF: Duration = Duration::from_mins(1);

/// A highlighted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coloured {
    /// Its text: every byte, escaped.
    pub html: Html,
    /// The part that is not highlighted although its grammar is known.
    pub without: Option<WithoutColours>,
}

/// The part of a file that is not highlighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutColours {
    /// All of it: it is too long.
    TooLong,
    /// Everything from this line on, counted from 1: the deadline was reached.
    From(usize),
}

/// The classes of highlighted text.
pub const CLASS_NAMES: [&str; 7] = ["hc", "hs", "hn", "hk", "hf", "ht", "ha"];

static KEPT: LazyLock<Kept<Coloured>> = LazyLock::new(|| Kept::new(KEPT_BYTES));

static GRAMMARS: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

/// The CSS class of a scope; the innermost scope with a class wins.
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

/// Highlights a file's text, with the grammar of its name, until the budget is used up.
pub fn render(file_name: &str, text: &str, budget: &Budget) -> Coloured {
    let Some(grammar) = grammar_of(file_name, text) else { return plain(text, None) };
    if text.len() > COLOUR_LIMIT {
        return plain(text, Some(WithoutColours::TooLong));
    }
    let key = Kept::<Coloured>::key(&[grammar.name.as_bytes(), text.as_bytes()]);
    if let Some(kept) = KEPT.get(&key) {
        return kept;
    }
    let coloured = coloured(grammar, text, budget);
    if !budget.is_cancelled() {
        let time = coloured.without.map(|_| KEPT_HALF);
        KEPT.put(key, coloured.clone(), coloured.html.0.len(), time);
    }
    coloured
}

fn plain(text: &str, without: Option<WithoutColours>) -> Coloured {
    let mut out = String::with_capacity(text.len() * 2);
    escape_into(text, &mut out);
    Coloured { html: Html(out), without }
}

fn grammar_of(file_name: &str, text: &str) -> Option<&'static SyntaxReference> {
    let extension = file_name.rsplit('.').next().unwrap_or_default();
    let near = match extension {
        "ts" | "tsx" | "jsx" | "mjs" | "cjs" => "js",
        "toml" | "conf" | "cfg" => "ini",
        other => other,
    };
    let first_line = text.lines().next().unwrap_or_default();
    let first_line = &first_line[..first_line.floor_char_boundary(FIRST_LINE_LIMIT)];
    GRAMMARS
        .find_syntax_by_extension(near)
        .or_else(|| GRAMMARS.find_syntax_by_extension(file_name))
        .or_else(|| GRAMMARS.find_syntax_by_first_line(first_line))
}

fn coloured(grammar: &SyntaxReference, text: &str, budget: &Budget) -> Coloured {
    let mut out = String::with_capacity(text.len() * 2);
    let mut state = ParseState::new(grammar);
    let mut stack = ScopeStack::new();
    let mut open: &str = "";
    let mut done = 0;
    let mut without = None;
    for (nth, line) in text.split_inclusive('\n').enumerate() {
        if budget.is_spent() {
            without = Some(WithoutColours::From(nth + 1));
            break;
        }
        let ops =
            if line.len() > LINE_LIMIT { Vec::new() } else { state.parse_line(line, &GRAMMARS).unwrap_or_default() };
        let mut from = 0;
        for (at, op) in &ops {
            emit(&line[from..*at], class_of(&stack), &mut open, &mut out);
            from = *at;
            // If a grammar pops too much, highlighting is lost but the text is not.
            let _ = stack.apply(op);
        }
        emit(&line[from..], class_of(&stack), &mut open, &mut out);
        done += line.len();
    }
    if !open.is_empty() {
        out.push_str("</span>");
    }
    escape_into(&text[done..], &mut out);
    Coloured { html: Html(out), without }
}

/// Writes a piece, and reuses the open element if the class is the same.
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

    fn shown(name: &str, text: &str) -> String {
        render(name, text, &Budget::unlimited()).html.0
    }

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
            assert_eq!(text_of(&shown(name, text)), text, "{name}");
        }
    }

    #[test]
    fn python_is_highlighted() {
        let html = shown("main.py", "# why\ndef f():\n    return 'x'\n");
        for piece in
            [r#"<span class="hc"># why"#, r#"<span class="hk">def"#, r#"<span class="hf">f"#, r#"<span class="hs">"#]
        {
            assert!(html.contains(piece), "{piece} in {html}");
        }
    }

    #[test]
    fn long_files_and_lines_are_not_highlighted() {
        let text = format!("x = '{}'\n", "<".repeat(5_000));
        assert_eq!(text_of(&shown("main.py", &text)), text);
        let long = "x = 1\n".repeat(COLOUR_LIMIT / 6 + 1);
        let coloured = render("main.py", &long, &Budget::unlimited());
        assert_eq!((coloured.without, coloured.html.0), (Some(WithoutColours::TooLong), long));
    }

    #[test]
    fn the_rest_is_plain_after_the_deadline() {
        let text = "# seen once\ndef f():\n    return '<'\n";
        let none = render("main.py", text, &Budget::of(Duration::ZERO));
        assert_eq!(none.without, Some(WithoutColours::From(1)));
        assert!(text_of(&none.html.0) == text && !none.html.0.contains("span"));
        // Cached, so that the next view is free; but only for a short time.
        assert_eq!(render("main.py", text, &Budget::unlimited()), none);
    }

    #[test]
    fn text_that_is_slow_to_highlight_is_complete_at_the_deadline() {
        let hostile = |piece: &str| {
            let line = format!("{}\n", piece.repeat(990 / piece.len()));
            line.repeat(COLOUR_LIMIT / line.len() - 1)
        };
        let span = regex::Regex::new("</?span[^>]*>").unwrap();
        for (name, text) in [("a.py", hostile("a.")), ("a.lisp", hostile("(a "))] {
            // A tenth of the deadline of a page, so that the test is quick.
            let coloured = render(name, &text, &Budget::of(COLOUR_TIME / 10));
            let Some(WithoutColours::From(line)) = coloured.without else { panic!("{name}: {:?}", coloured.without) };
            assert!(line < text.lines().count(), "{name}");
            let bare = span.replace_all(&coloured.html.0, "").into_owned();
            assert!(bare == text, "{name} lost text");
        }
    }
}
