//! Suggested names for new apps: from the description, or an adjective and a noun.

use rand::seq::IndexedRandom;

use crate::domain::AppName;

/// Maximum characters of a description that are read.
const READ_MAX: usize = 600;
/// Maximum length of a name from a description, without the number that makes it unique.
const LENGTH_MAX: usize = 32;
/// Words of a description that say nothing about the app: grammar, what every request has, and looks.
const COMMON_WORDS: &[&str] = &[
    "about",
    "accept",
    "accepts",
    "add",
    "afternoon",
    "all",
    "also",
    "and",
    "any",
    "app",
    "application",
    "are",
    "based",
    "beautiful",
    "build",
    "by",
    "called",
    "can",
    "clean",
    "collect",
    "collects",
    "could",
    "create",
    "daily",
    "dark",
    "das",
    "day",
    "days",
    "dem",
    "den",
    "der",
    "des",
    "die",
    "each",
    "ein",
    "eine",
    "einem",
    "einen",
    "einer",
    "evening",
    "every",
    "find",
    "for",
    "from",
    "für",
    "get",
    "gets",
    "give",
    "gives",
    "hour",
    "hourly",
    "how",
    "i",
    "ich",
    "into",
    "is",
    "it",
    "its",
    "keep",
    "keeps",
    "left",
    "let",
    "lets",
    "light",
    "like",
    "list",
    "lists",
    "little",
    "make",
    "many",
    "me",
    "minute",
    "mit",
    "modern",
    "month",
    "morning",
    "much",
    "my",
    "named",
    "need",
    "new",
    "nice",
    "night",
    "of",
    "on",
    "one",
    "one-page",
    "online",
    "our",
    "page",
    "people",
    "please",
    "pretty",
    "returns",
    "say",
    "says",
    "seite",
    "send",
    "sends",
    "show",
    "shows",
    "simple",
    "single",
    "site",
    "small",
    "some",
    "something",
    "start",
    "starts",
    "tell",
    "tells",
    "than",
    "that",
    "the",
    "their",
    "there",
    "this",
    "tiny",
    "to",
    "tool",
    "und",
    "until",
    "user",
    "users",
    "using",
    "very",
    "visitors",
    "von",
    "want",
    "we",
    "web",
    "webpage",
    "website",
    "week",
    "weekly",
    "what",
    "when",
    "where",
    "which",
    "who",
    "will",
    "with",
    "would",
    "write",
    "year",
    "you",
    "your",
    "zu",
    "zum",
    "zur",
];
/// Words that begin a subordinate part of a sentence: the subject stands before them.
const CLAUSE_WORDS: &[&str] = &["with", "that", "which", "where", "who", "when", "until", "mit", "über"];

const ADJECTIVES: &[&str] = &[
    "amber", "brave", "brisk", "bright", "calm", "clear", "clever", "cosy", "crisp", "dapper", "eager", "early",
    "fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand", "happy", "hazel", "honest", "jolly", "keen",
    "kind", "lively", "lucky", "lunar", "mellow", "merry", "mild", "misty", "neat", "nimble", "noble", "olive",
    "plain", "polar", "proud", "quick", "quiet", "rapid", "ready", "rosy", "rustic", "sandy", "sharp", "silver",
    "sleek", "smart", "snug", "solar", "sound", "spry", "steady", "still", "sunny", "swift", "tidy", "velvet", "vivid",
    "warm", "wise",
];

const NOUNS: &[&str] = &[
    "acorn", "anchor", "badger", "beacon", "birch", "bloom", "breeze", "bridge", "brook", "canyon", "cedar", "cloud",
    "comet", "coral", "cove", "crane", "creek", "dune", "eagle", "ember", "falcon", "fern", "field", "finch", "fjord",
    "forest", "fox", "garden", "glade", "grove", "harbor", "hare", "heron", "hill", "island", "lagoon", "lake", "lark",
    "leaf", "maple", "meadow", "moon", "moss", "oak", "ocean", "orchard", "otter", "owl", "panda", "pebble", "pine",
    "plum", "pond", "raven", "reef", "ridge", "river", "robin", "sail", "shore", "sparrow", "spruce", "star", "stone",
    "stream", "thistle", "tide", "trail", "valley", "wave", "willow", "wren",
];

/// A random name; from the third attempt on with a number, so that a free name is found for any number of apps.
pub fn random(attempt: u32) -> AppName {
    let mut rng = rand::rng();
    let adjective = ADJECTIVES.choose(&mut rng).expect("the list is not empty");
    let noun = NOUNS.choose(&mut rng).expect("the list is not empty");
    let text = if attempt < 3 {
        format!("{adjective}-{noun}")
    } else {
        format!("{adjective}-{noun}-{}", rand::random_range(2..1_000_000))
    };
    text.parse().expect("it consists of lowercase words")
}

/// A name of one or two words of the description: a proper noun first, if there is one (“A tide table for the harbour of
/// Cuxhaven” gives `cuxhaven-tide`). None if no word fits. From the second attempt on with the attempt's number.
pub fn of_description(description: &str, attempt: u32) -> Option<AppName> {
    let end = description.char_indices().nth(READ_MAX).map_or(description.len(), |(at, _)| at);
    let words = description[..end].split(['.', ',', ';', ':', '!', '?', '\n', '(', ')']).find_map(subject)?;
    let mut name = String::new();
    for word in words.into_iter().take(2) {
        if name.len() + word.len() < LENGTH_MAX {
            if !name.is_empty() {
                name.push('-');
            }
            name.push_str(&word);
        }
    }
    if attempt > 0 {
        name = format!("{name}-{}", attempt + 1);
    }
    // Reserved names and the like: no suggestion.
    name.parse().ok()
}

/// The words of a part of a sentence that say what the app is about, the proper nouns first; none if there are no such words.
fn subject(part: &str) -> Option<Vec<String>> {
    let mut proper = Vec::new();
    let mut common = Vec::new();
    for (position, word) in part.split_whitespace().enumerate() {
        let lower = word.to_lowercase();
        if CLAUSE_WORDS.contains(&lower.as_str()) && !(proper.is_empty() && common.is_empty()) {
            break;
        }
        if COMMON_WORDS.contains(&lower.as_str()) {
            continue;
        }
        let word_in_latin = latin(&lower);
        let own = word_in_latin.trim_matches('-');
        if own.len() < 3
            || own.contains("--")
            || !own.starts_with(|c: char| c.is_ascii_lowercase())
            || COMMON_WORDS.contains(&own)
        {
            continue;
        }
        // Acronyms such as API are no proper nouns.
        let is_proper = position > 0 && word.starts_with(char::is_uppercase) && word.chars().any(char::is_lowercase);
        let list = if is_proper { &mut proper } else { &mut common };
        if !list.iter().any(|known| known == own) {
            list.push(own.to_owned());
        }
    }
    // In a language that capitalizes nouns, or in a title, all words look proper: their order says more.
    proper.extend(common);
    (!proper.is_empty()).then_some(proper)
}

/// Lowercase text in the letters of host names: other Latin letters are written with them, all else separates words.
fn latin(lower: &str) -> String {
    let mut text = String::with_capacity(lower.len());
    for c in lower.chars() {
        match c {
            'a'..='z' | '0'..='9' => text.push(c),
            'ä' | 'æ' => text.push_str("ae"),
            'ö' | 'ø' | 'œ' => text.push_str("oe"),
            'ü' => text.push_str("ue"),
            'ß' => text.push_str("ss"),
            'à' | 'á' | 'â' | 'ã' | 'å' => text.push('a'),
            'è' | 'é' | 'ê' | 'ë' => text.push('e'),
            'ì' | 'í' | 'î' | 'ï' => text.push('i'),
            'ò' | 'ó' | 'ô' | 'õ' => text.push('o'),
            'ù' | 'ú' | 'û' => text.push('u'),
            'ç' => text.push('c'),
            'ñ' => text.push('n'),
            // “baker’s” is one word.
            '\'' | '’' => {}
            _ => text.push('-'),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_gives_a_name() {
        for (description, name) in [
            ("A tide table for the harbour of Cuxhaven with a dark theme and a search field", Some("cuxhaven-tide")),
            ("A one-page site for a bakery, with opening hours and today’s breads", Some("bakery")),
            ("A link shortener that counts clicks", Some("link-shortener")),
            ("Every morning at 7, say how many days are left in the quarter", Some("quarter")),
            ("Eine Seite für den Fußballverein mit Spielplan", Some("fussballverein")),
            ("a to-do API", Some("to-do-api")),
            ("Please build me a website", None),
            ("漁港の潮汐表", None),
            ("", None),
        ] {
            assert_eq!(of_description(description, 0).as_ref().map(AppName::as_str), name, "{description}");
        }
        assert_eq!(of_description("a bakery", 1).unwrap().as_str(), "bakery-2");
        // A reserved name is not suggested.
        assert_eq!(of_description("the registry", 0), None);
    }

    #[test]
    fn any_text_gives_a_valid_name_or_none() {
        for description in
            ["-".repeat(5_000), "x".repeat(5_000), format!("{} end", "wordy".repeat(9)), "7 8 9abc 1st".into()]
        {
            drop(of_description(&description, 41));
        }
        assert_eq!(of_description(&format!("{} bakery", "wordy".repeat(9)), 0).unwrap().as_str(), "bakery");
    }

    #[test]
    fn every_pair_is_a_valid_name() {
        for adjective in ADJECTIVES {
            for noun in NOUNS {
                format!("{adjective}-{noun}").parse::<AppName>().expect("a name");
            }
        }
        assert_ne!(random(5), random(5));
    }
}
