//! Words that are searched in lines, in any case. Pure.

use std::ops::Range;

/// Maximum length of the searched words in bytes.
pub const NEEDLE_MAX: usize = 200;

/// Searched words, which match text in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    words: String,
    folded: Vec<char>,
}

impl Needle {
    /// None if there is nothing to search. Of long words only the first [`NEEDLE_MAX`] bytes are searched.
    pub fn new(words: &str) -> Option<Self> {
        let words = words.trim();
        let mut end = words.len().min(NEEDLE_MAX);
        while !words.is_char_boundary(end) {
            end -= 1;
        }
        let words = &words[..end];
        (!words.is_empty()).then(|| Self { words: words.to_owned(), folded: words.chars().map(fold).collect() })
    }

    /// The words as they were entered.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Whether a line contains the words.
    pub fn is_in(&self, line: &str) -> bool {
        self.find(line, 0).is_some()
    }

    /// All places of the words in a line, in bytes. They do not overlap.
    pub fn places(&self, line: &str) -> Vec<Range<usize>> {
        let (mut places, mut from) = (Vec::new(), 0);
        while let Some(place) = self.find(line, from) {
            from = place.end;
            places.push(place);
        }
        places
    }

    fn find(&self, line: &str, from: usize) -> Option<Range<usize>> {
        let first = *self.folded.first()?;
        line[from..].char_indices().filter(|(_, c)| fold(*c) == first).find_map(|(at, _)| {
            let start = from + at;
            let mut rest = line[start..].char_indices();
            let matches = self.folded.iter().all(|wanted| rest.next().is_some_and(|(_, c)| fold(c) == *wanted));
            let end = rest.next().map_or(line.len(), |(at, _)| start + at);
            matches.then_some(start..end)
        })
    }
}

/// The character in lower case. Characters that are several in lower case stay as they are, so that places are exact.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_case_at_exact_places() {
        let found = |needle: &str, line: &str| {
            let needle = Needle::new(needle).expect("words");
            needle.places(line).into_iter().map(|place| line[place].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("tide", "Tide, TIDE and tidE"), ["Tide", "TIDE", "tidE"]);
        assert_eq!(found(" ÜBER ", "über Über"), ["über", "Über"]);
        assert_eq!(found("i", "İi"), ["i"], "a letter that is longer in lower case does not shift places");
        assert_eq!(found("aa", "aaaaa"), ["aa", "aa"]);
        assert_eq!(found("line 24", "line 2 line 24"), ["line 24"]);
        assert_eq!(found("🦀x", "🦀🦀X"), ["🦀X"]);
        assert!(found("long needle", "long").is_empty());
    }

    #[test]
    fn words_are_bounded() {
        assert_eq!(Needle::new("  "), None);
        assert_eq!(Needle::new(&"é".repeat(300)).expect("words").words().len(), NEEDLE_MAX);
    }
}
