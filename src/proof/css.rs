//! Finds the addresses in a stylesheet. Pure: a scanner of comments, strings and escapes.

/// An address that a stylesheet loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Another stylesheet, by `@import`.
    Style(String),
    /// An image, a font, a cursor.
    File(String),
}

/// Every `url(…)` and `@import "…"`, in order.
pub(super) fn loads(css: &str) -> Vec<Loaded> {
    let (mut found, mut rest) = (Vec::new(), css);
    // The rest of an at-rule up to its semicolon, whose addresses it loads.
    let mut rule = Rule::None;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("/*") {
            rest = after.split_once("*/").map_or("", |(_, rest)| rest);
        } else if first == '"' || first == '\'' {
            let (text, after) = string(&rest[1..], first);
            if rule == Rule::Import {
                found.push(Loaded::Style(text));
                rule = Rule::None;
            }
            rest = after;
        } else if starts(rest, "@import") {
            (rule, rest) = (Rule::Import, &rest["@import".len()..]);
        } else if starts(rest, "@namespace") {
            (rule, rest) = (Rule::Names, &rest["@namespace".len()..]);
        } else if starts(rest, "url(") {
            let (text, after) = url(&rest["url(".len()..]);
            match rule {
                Rule::Import => found.push(Loaded::Style(text)),
                Rule::None => found.push(Loaded::File(text)),
                Rule::Names => {}
            }
            rule = Rule::None;
            rest = after;
        } else {
            if matches!(first, ';' | '{' | '}') {
                rule = Rule::None;
            }
            // Skips whole words: `curl(` is not `url(`.
            let word =
                rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '-' || c == '_').len();
            rest = &rest[word.max(first.len_utf8())..];
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    None,
    Import,
    Names,
}

fn starts(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The text up to the closing quote, and the rest.
fn string(text: &str, quote: char) -> (String, &str) {
    let (mut out, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return (out, &text[at + 1..]);
        }
        if c == '\\' {
            out.extend(chars.next().map(|(_, escaped)| escaped).filter(|escaped| *escaped != '\n'));
        } else if c == '\n' {
            // An unfinished string ends with its line.
            return (out, &text[at..]);
        } else {
            out.push(c);
        }
    }
    (out, "")
}

/// The text between the brackets of `url(…)`, quoted or not.
fn url(text: &str) -> (String, &str) {
    let inner = text.trim_start();
    if let Some(quote @ ('"' | '\'')) = inner.chars().next() {
        let (address, after) = string(&inner[1..], quote);
        return (address, after.split_once(')').map_or("", |(_, rest)| rest));
    }
    let (address, after) = inner.split_once(')').unwrap_or((inner, ""));
    (address.trim_end().replace('\\', ""), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_loaded_addresses_are_found() {
        let style = |text: &str| Loaded::Style(text.to_owned());
        let file = |text: &str| Loaded::File(text.to_owned());
        for (css, expected) in [
            ("@import 'a.css'; @IMPORT url(b.css) print;", vec![style("a.css"), style("b.css")]),
            ("a { background: URL( \"x y.png\" ) no-repeat, url(z.svg) }", vec![file("x y.png"), file("z.svg")]),
            ("/* url(no.png) */ b::before { content: \"url(no.png)\" }", vec![]),
            ("@font-face { src: url('f.woff2') format(\"woff2\") }", vec![file("f.woff2")]),
            ("@namespace svg url(http://www.w3.org/2000/svg); i { --x: curl(no.png) }", vec![]),
            ("@import", vec![]),
            ("a { b: url(", vec![file("")]),
            ("a { b: 'never closed\n} c { d: url(e.png) }", vec![file("e.png")]),
            ("ü { b: url(ü.png) }", vec![file("ü.png")]),
        ] {
            assert_eq!(loads(css), expected, "{css}");
        }
    }
}
