//! The title of a version that a turn created: a few words.

use std::fmt;

/// Maximum length, in characters.
const LENGTH_MAX: usize = 60;

/// A title on one line, without Markdown, quotation marks around it or a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTitle(String);

impl VersionTitle {
    /// The title that the model proposes. None if it contains no word.
    pub fn proposed(text: &str) -> Option<Self> {
        cleaned(text.lines().find(|line| !line.trim().is_empty())?)
    }

    /// The first sentence of a message. None if it contains no word.
    pub fn of_message(text: &str) -> Option<Self> {
        let line = text.lines().map(str::trim).find(|line| line.contains(char::is_alphanumeric))?;
        let ends = |at: &(usize, char)| matches!(at.1, '.' | '!' | '?') && line[at.0 + 1..].starts_with(' ');
        let sentence = line.char_indices().find(ends).map_or(line, |(at, _)| &line[..at]);
        let polite = ["Please ", "please "].iter().find_map(|word| sentence.strip_prefix(word));
        let Self(title) = cleaned(polite.unwrap_or(sentence))?;
        let mut letters = title.chars();
        let first = letters.next()?;
        Some(Self(first.to_uppercase().chain(letters).collect()))
    }

    /// The title.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn cleaned(line: &str) -> Option<VersionTitle> {
    let around = |c: char| c.is_whitespace() || matches!(c, '#' | '*' | '_' | '`' | '"' | '“' | '”' | '„' | '-' | '>');
    // More is cut off anyway.
    let line: String = line.chars().take(LENGTH_MAX * 8).filter(|c| !matches!(c, '`' | '*')).collect();
    let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let after = |c: char| around(c) || matches!(c, '.' | ':' | ',' | ';');
    let title = words.trim_start_matches(around).trim_end_matches(after);
    if !title.contains(char::is_alphanumeric) {
        return None;
    }
    let Some((end, _)) = title.char_indices().nth(LENGTH_MAX) else { return Some(VersionTitle(title.to_owned())) };
    let cut = &title[..end];
    // At a word's end, unless the last word is the whole title.
    let cut =
        cut.rsplit_once(' ').map_or(cut, |(whole, _)| whole).trim_end_matches([',', ';', ':', '.', '–', '-', ' ']);
    Some(VersionTitle(format!("{cut}…")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_title_is_cleaned() {
        for (text, title) in [
            ("Renamed the shop, added a cake", Some("Renamed the shop, added a cake")),
            ("  **“Dark theme”.** ", Some("Dark theme")),
            ("\n# Add `/health`\nand more", Some("Add /health")),
            ("\"Opening hours\"", Some("Opening hours")),
            ("…", None),
            ("", None),
        ] {
            assert_eq!(VersionTitle::proposed(text).as_ref().map(VersionTitle::as_str), title, "{text}");
        }
    }

    #[test]
    fn a_message_gives_its_first_sentence() {
        for (text, title) in [
            ("please make the heading red. And the page blue.", "Make the heading red"),
            ("\n---\nAdd version 1.5 of the list!", "Add version 1.5 of the list!"),
            (
                "A tide table for the harbour of Cuxhaven with a dark theme and a search field",
                "A tide table for the harbour of Cuxhaven with a dark theme…",
            ),
        ] {
            assert_eq!(VersionTitle::of_message(text).unwrap().as_str(), title);
        }
        assert_eq!(VersionTitle::of_message(" \n!!\n"), None);
    }

    #[test]
    fn every_title_is_short() {
        for text in ["x".repeat(10_000), "ß ".repeat(10_000), format!("a {}", "漢".repeat(500))] {
            for title in [VersionTitle::proposed(&text), VersionTitle::of_message(&text)] {
                assert!(title.unwrap().as_str().chars().count() <= LENGTH_MAX + 1);
            }
        }
    }
}
