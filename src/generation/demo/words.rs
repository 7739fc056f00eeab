//! The words of a user's text in a comparable form: lower case, without endings, and without words that have no meaning
//! of their own. Pure.

use std::collections::BTreeSet;

/// Maximum number of characters of a text that are read.
pub const LOOKED_AT: usize = 4_000;

/// Words that do not describe what a user asks for.
const SILENT: &str = "a an the of for to in on at by from with without and or as it its is are be being was were i me my we our us you your \
    he she they them their this that these those there here who which what when where why how can could should would will may might \
    must do does did not no yes please thanks thank just so very really also too some any each all both more most than then up out \
    into about like want need wish have has had get give let make create build write design develop code add put show use using \
    new nice good great simple small little tiny basic modern beautiful pretty clean cool big page site website web app application tool program thing \
    one two three self using via per if but etc am pm";

/// The words of a text in order: lower case, only letters and digits.
pub fn tokens(text: &str) -> Vec<String> {
    let cut = text.char_indices().nth(LOOKED_AT).map_or(text.len(), |(at, _)| at);
    // A truncated word would be another word.
    let cut = if cut < text.len() { text[..cut].rfind(char::is_whitespace).unwrap_or(cut) } else { cut };
    text[..cut]
        .to_lowercase()
        .replace(['’', '\''], "")
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A word without the ending of its plural or other form.
pub fn stem(word: &str) -> String {
    for (ending, instead) in
        [("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("ings", ""), ("ing", ""), ("s", "")]
    {
        if let Some(rest) = word.strip_suffix(ending)
            && rest.chars().count() >= 3
            && !rest.ends_with('s')
        {
            return format!("{rest}{instead}").trim_end_matches('e').to_owned();
        }
    }
    if word.chars().count() > 3 { word.trim_end_matches('e').to_owned() } else { word.to_owned() }
}

/// The meaningful words of a text, by their stems. Numbers have no meaning here.
pub fn telling(text: &str) -> BTreeSet<String> {
    let silent: BTreeSet<&str> = SILENT.split_whitespace().collect();
    tokens(text)
        .into_iter()
        .filter(|word| !silent.contains(word.as_str()) && !word.chars().all(|c| c.is_ascii_digit()))
        .map(|word| stem(&word))
        .collect()
}

/// The words by which a text fits a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic {
    /// Groups of words: a text must contain one word of each.
    must: Vec<BTreeSet<String>>,
    /// Other words that fit.
    known: BTreeSet<String>,
}

/// Minimum share of meaningful words that fit, in percent.
const CLOSE: usize = 60;

impl Topic {
    /// From groups of words of which one is necessary, and texts with words that fit.
    pub fn new<'a>(must: impl IntoIterator<Item = &'a str>, fits: impl IntoIterator<Item = &'a str>) -> Self {
        let must: Vec<BTreeSet<String>> =
            must.into_iter().map(|group| tokens(group).iter().map(|word| stem(word)).collect()).collect();
        let mut known: BTreeSet<String> = fits.into_iter().flat_map(telling).collect();
        known.extend(must.iter().flatten().cloned());
        Self { must, known }
    }

    /// The share of meaningful words that fit, in percent; none if the text has another subject.
    pub fn fits(&self, text: &str) -> Option<usize> {
        // A necessary word may be one of those that otherwise have no meaning.
        let all: BTreeSet<String> = tokens(text).iter().map(|word| stem(word)).collect();
        if self.must.is_empty() || !self.must.iter().all(|group| !group.is_disjoint(&all)) {
            return None;
        }
        let telling = telling(text);
        let known = telling.iter().filter(|word| self.known.contains(*word)).count();
        let share = if telling.is_empty() { 100 } else { known * 100 / telling.len() };
        (share >= CLOSE).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_do_not_matter() {
        for (one, other) in [
            ("bakeries", "bakery"),
            ("links", "link"),
            ("shortener", "shorteners"),
            ("booking", "book"),
            ("hours", "hour"),
            ("prices", "price"),
        ] {
            assert_eq!(stem(one), stem(other));
        }
        assert_eq!((stem("css").as_str(), stem("bus").as_str()), ("css", "bus"));
    }

    #[test]
    fn a_topic_needs_its_words_and_few_others() {
        let topic = Topic::new(["bakery bread"], ["opening hours in warm colours"]);
        assert_eq!(topic.fits("A bakery"), Some(100));
        assert_eq!(topic.fits("A page with opening hours"), None);
        assert!(topic.fits("A bakery with opening hours and a parrot").is_some());
        assert_eq!(topic.fits("A bakery that breeds parrots in Peru"), None);
        assert!(topic.fits(&"bakery ".repeat(100_000)).is_some(), "long texts are cut");
    }
}
