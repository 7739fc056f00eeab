//! Reads from a message what it asks for, as far as simple rules can: a title, colours, light or dark, listed items, a
//! table, a form, a counter. Pure.

use super::colours::Colour;
use super::words::{LOOKED_AT, tokens};

/// Maximum length of a title, in characters.
const TITLE_MAX: usize = 48;
/// Maximum number of characters of a message that are shown again.
const SHOWN_MAX: usize = 400;
/// Maximum number of listed items, and their maximum length in characters and in words.
const ITEMS_MAX: usize = 12;
const ITEM_MAX: usize = 40;
const ITEM_WORDS: usize = 5;

/// A light or a dark colour scheme, whatever the visitor's system prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

/// A part of a page that can be added and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A table to which visitors can add rows.
    Table,
    /// A form to write a message.
    Form,
    /// A number that can be counted up and down.
    Counter,
    /// A list of the named items.
    List,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 4] = [Self::Table, Self::Form, Self::Counter, Self::List];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Form => "form",
            Self::Counter => "counter",
            Self::List => "list",
        }
    }

    fn of(word: &str) -> Option<Self> {
        match word {
            "table" | "tables" => Some(Self::Table),
            "form" | "forms" => Some(Self::Form),
            "counter" | "counters" => Some(Self::Counter),
            "list" | "lists" => Some(Self::List),
            _ => None,
        }
    }
}

/// Colours by their use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours {
    /// Colour of headings.
    pub heading: Option<Colour>,
    /// Colour of the page.
    pub background: Option<Colour>,
    /// Colour of buttons and links.
    pub accent: Option<Colour>,
}

impl Colours {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The content of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// A title that is short enough for a heading.
    pub title: String,
    /// The description on one line, truncated.
    pub words: String,
    /// The listed items.
    pub items: Vec<String>,
    /// The columns of the table, if it asks for one.
    pub columns: Vec<String>,
    /// The parts that it asks for.
    pub parts: Vec<Part>,
    /// The colours that it names.
    pub colours: Colours,
    /// Light or dark, if it asks for one.
    pub scheme: Option<Scheme>,
}

impl Wish {
    /// Reads a description.
    pub fn of(description: &str) -> Self {
        let all = one_line(description);
        let words = tokens(&all);
        let columns = after_word(&all, "table").map(things).unwrap_or_default();
        let mut parts: Vec<Part> = words.iter().filter_map(|word| Part::of(word)).collect();
        parts.sort_unstable();
        parts.dedup();
        let items = items(&all);
        Self {
            title: title(&all),
            words: shortened(&all, SHOWN_MAX),
            items,
            columns,
            parts,
            colours: colours(&words),
            scheme: scheme(&words),
        }
    }
}

/// A change to a page that can be made without understanding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Colours.
    Colours(Colours),
    /// Always light, or always dark.
    Scheme(Scheme),
    /// Another title.
    Title(String),
    /// Adds a part, with its items.
    Add(Part, Vec<String>),
    /// Removes a part.
    Remove(Part),
}

/// The changes that a message asks for; none if it asks for something else.
pub fn changes(message: &str) -> Vec<Change> {
    let all = one_line(message);
    // Quoted text is content for the page and not a request.
    let request = without_quotes(&all);
    let words = tokens(&request);
    let has = |options: &[&str]| words.iter().any(|word| options.contains(&word.as_str()));
    let mut changes = Vec::new();
    if let Some(title) = new_title(&all) {
        return vec![Change::Title(title)];
    }
    let removes = has(&["remove", "delete", "drop", "hide", "without"]) || request.to_lowercase().contains("take away");
    let adds = has(&["add", "put", "include", "insert", "append", "with", "show", "need", "want", "give"]);
    for part in Part::ALL {
        let Some(at) = words.iter().position(|word| Part::of(word) == Some(part)) else { continue };
        if removes {
            changes.push(Change::Remove(part));
        } else if adds {
            let named = after_word(&all, &words[at]).map(listed).unwrap_or_default();
            changes.push(Change::Add(part, named));
        }
    }
    if !changes.is_empty() {
        return changes;
    }
    let colours = colours(&words);
    if !colours.is_empty() {
        changes.push(Change::Colours(colours));
    }
    if let Some(scheme) = scheme(&words) {
        changes.push(Change::Scheme(scheme));
    }
    changes
}

/// The message on one line, without control characters.
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().take(LOOKED_AT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `max` characters, cut between words if possible.
pub fn shortened(text: &str, max: usize) -> String {
    let Some((cut, _)) = text.char_indices().nth(max) else { return text.to_owned() };
    let cut = text[..cut].rfind(' ').filter(|at| at * 2 > cut).unwrap_or(cut);
    format!("{}…", text[..cut].trim_end_matches(|c: char| c.is_whitespace() || c == ','))
}

const QUOTES: [(char, char); 4] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];

/// The first text in quotation marks.
fn quoted(text: &str) -> Option<&str> {
    let (open, end) = QUOTES.iter().filter_map(|(open, end)| text.find(*open).map(|at| (at, (*open, *end)))).min()?;
    let inside = &text[open + end.0.len_utf8()..];
    inside.split_once(end.1).map(|(inside, _)| inside.trim()).filter(|inside| !inside.is_empty())
}

fn without_quotes(text: &str) -> String {
    quoted(text).map_or_else(|| text.to_owned(), |inside| text.replacen(inside, "", 1))
}

/// The title that a message sets: `change the title to X`, `call it X`, `rename it to X`.
fn new_title(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    // Some letters are longer in lower case: then positions in both texts would differ.
    if lower.len() != message.len() {
        return None;
    }
    let after = [
        "title to ",
        "heading to ",
        "headline to ",
        "title say ",
        "heading say ",
        "call it ",
        "name it ",
        "rename it to ",
        "rename it ",
    ]
    .iter()
    .find_map(|phrase| lower.find(phrase).map(|at| &message[at + phrase.len()..]))?;
    let title = quoted(after).unwrap_or(after).trim().trim_end_matches(['.', '!']).trim();
    // “Change the heading to red” is about its colour.
    let is_colour = Colour::named(&title.to_lowercase()).is_some();
    (!title.is_empty() && !is_colour).then(|| shortened(title, TITLE_MAX))
}

/// Openings of a description that are removed, the longest first in each round.
const OPENINGS: [&str; 28] = [
    "please",
    "could you",
    "can you",
    "i want",
    "i need",
    "i would like",
    "build me",
    "make me",
    "build",
    "make",
    "create",
    "write",
    "design",
    "an api that",
    "an api for",
    "an api to",
    "a webhook that",
    "a webhook for",
    "a job that",
    "a one-page site for",
    "a one-page site about",
    "a web page",
    "a website",
    "a page",
    "a site",
    "a landing page",
    "an app",
    "a web app",
];

/// A title from a description: its subject, without the opening and the features.
fn title(all: &str) -> String {
    for phrase in [" called ", " named ", " titled "] {
        if let Some((_, after)) = all.split_once(phrase) {
            let named = quoted(after).unwrap_or_else(|| cut(after));
            if !named.is_empty() {
                return capital(&shortened(named.trim(), TITLE_MAX));
            }
        }
    }
    let mut rest = all.trim();
    loop {
        let lower = rest.to_lowercase();
        let found = if lower.len() == rest.len() {
            OPENINGS.iter().filter(|opening| begins(&lower, opening)).max_by_key(|opening| opening.len())
        } else {
            None
        };
        let Some(opening) = found else { break };
        let after = rest[opening.len()..].trim_start_matches([',', ' ', ':']);
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    for small in ["that ", "which ", "to ", "for ", "about ", "of ", "on ", "with ", "the ", "an ", "a ", "my ", "our "]
    {
        rest = strip(rest, small).unwrap_or(rest);
    }
    let subject = cut(rest);
    let subject = if subject.is_empty() { "A new page" } else { subject };
    capital(&shortened(subject, TITLE_MAX))
}

fn begins(lower: &str, opening: &str) -> bool {
    lower.strip_prefix(opening).is_some_and(|rest| rest.starts_with([' ', ',', ':']))
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// The text up to the end of the subject.
fn cut(text: &str) -> &str {
    let ends = [
        ". ",
        "! ",
        "? ",
        ": ",
        "; ",
        ", ",
        " with ",
        " that ",
        " which ",
        " where ",
        " including ",
        " in dark",
        " in light",
    ];
    let end = ends.iter().filter_map(|mark| text.find(mark)).filter(|at| *at >= 3).min().unwrap_or(text.len());
    let text = text[..end].trim_end_matches(['.', '!', '?', ':', ';', ',']).trim();
    // “in red” describes a colour.
    match text.rsplit_once(" in ") {
        Some((before, colour)) if Colour::named(&colour.to_lowercase()).is_some() => before,
        _ => text,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The text after a word.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let lower = text.to_lowercase();
    if lower.len() != text.len() {
        return None;
    }
    let at = lower.find(word)?;
    let after = &text[at + word.len()..];
    let after = after.trim_start_matches(|c: char| c.is_alphanumeric());
    let after = after.trim_start();
    let after_mark = || after.strip_prefix(':').map(str::trim_start);
    ["of ", "with ", "listing ", "showing "].iter().find_map(|small| strip(after, small)).or_else(after_mark)
}

/// The items at the beginning of a text: `a, b and c`.
fn listed(text: &str) -> Vec<String> {
    let end = [". ", "; ", "! ", "? "].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    let text = text[..end].trim_end_matches(['.', '!', '?']);
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').flat_map(|part| part.split(" and ")) {
        let mut item = item.trim().trim_matches(['"', '“', '”']);
        for small in ["and ", "columns ", "a ", "an ", "the ", "some ", "my ", "our "] {
            item = strip(item, small).unwrap_or(item);
        }
        let item = capital(item.trim());
        let fits = item.chars().count() <= ITEM_MAX && item.split(' ').count() <= ITEM_WORDS;
        if !item.is_empty() && fits && !items.contains(&item) {
            items.push(item);
        }
    }
    items.truncate(ITEMS_MAX);
    items
}

/// Words that describe a feature of the page, and not an item.
const FEATURES: [&str; 22] = [
    "form",
    "table",
    "counter",
    "theme",
    "background",
    "field",
    "button",
    "mode",
    "colours",
    "colors",
    "heading",
    "page",
    "search",
    "filter",
    "list",
    "layout",
    "design",
    "navigation",
    "menu",
    "footer",
    "header",
    "animation",
];

/// The items at the beginning of a text, without features of the page.
fn things(text: &str) -> Vec<String> {
    let is_thing = |item: &String| {
        let words = tokens(item);
        !words.iter().any(|word| FEATURES.contains(&word.as_str())) && colours(&words).is_empty()
    };
    listed(text).into_iter().filter(is_thing).collect()
}

/// The items of a description: its longest list, without features of the page.
fn items(all: &str) -> Vec<String> {
    let lower = all.to_lowercase();
    let mut found: Vec<Vec<String>> = Vec::new();
    for mark in
        [" with ", ": ", " including ", " listing ", " such as ", " about ", " for ", " of ", " selling ", " lists "]
    {
        let Some(at) = lower.find(mark).filter(|_| lower.len() == all.len()) else { continue };
        let items = things(&all[at + mark.len()..]);
        found.push(items);
    }
    // The first of the longest lists, since items follow “with” more often than “for”.
    found.into_iter().filter(|items| items.len() >= 2).rev().max_by_key(Vec::len).unwrap_or_default()
}

const HEADINGS: [&str; 6] = ["heading", "headings", "headline", "title", "titles", "h1"];
const BACKGROUNDS: [&str; 4] = ["background", "page", "backdrop", "bg"];
/// Maximum distance between a thing and its colour, in words.
const NEAR: usize = 3;

/// The colours, each for the thing next to it.
fn colours(words: &[String]) -> Colours {
    let mut colours = Colours::default();
    // Words from `free` on do not belong to an earlier colour.
    let (mut at, mut free) = (0, 0);
    while at < words.len() {
        let two = words.get(at + 1).and_then(|next| Colour::named(&format!("{} {next}", words[at])));
        let one = || Colour::named(&words[at]).map(|colour| (colour, 1));
        let Some((colour, length)) = two.map(|colour| (colour, 2)).or_else(one) else {
            at += 1;
            continue;
        };
        let is = |word: &String, names: &[&str]| names.contains(&word.as_str());
        let next = words.get(at + length);
        let before = words[at.saturating_sub(NEAR).max(free)..at]
            .iter()
            .rev()
            .find(|word| is(word, &HEADINGS) || is(word, &BACKGROUNDS));
        let next = next.filter(|word| is(word, &HEADINGS) || is(word, &BACKGROUNDS));
        free = at + length + usize::from(next.is_some());
        let named = next.or(before);
        match named {
            Some(word) if is(word, &HEADINGS) => colours.heading = Some(colour),
            Some(_) => colours.background = Some(colour),
            None => colours.accent = Some(colour),
        }
        at += length;
    }
    if colours == Colours::default()
        && words.windows(2).any(|pair| pair[0] == "warm" && matches!(pair[1].as_str(), "colours" | "colors"))
    {
        colours.accent = Colour::named("terracotta");
    }
    colours
}

/// Light or dark, if the message asks for one, and the word is not part of a colour's name.
fn scheme(words: &[String]) -> Option<Scheme> {
    for (at, word) in words.iter().enumerate() {
        let scheme = match word.as_str() {
            "dark" | "darker" | "night" | "black" => Scheme::Dark,
            "light" | "lighter" | "bright" | "white" => Scheme::Light,
            _ => continue,
        };
        let next = words.get(at + 1).map(String::as_str);
        if next.is_some_and(|next| Colour::named(&format!("{word} {next}")).is_some()) {
            continue;
        }
        let looks = |word: &str| {
            matches!(
                word,
                "theme"
                    | "mode"
                    | "background"
                    | "page"
                    | "colours"
                    | "colors"
                    | "design"
                    | "style"
                    | "look"
                    | "version"
            )
        };
        let before = at.checked_sub(1).map(|at| words[at].as_str());
        let made =
            matches!(before, Some("it" | "be" | "is" | "background" | "in" | "everything" | "page" | "theme" | "to"));
        if next.is_some_and(looks)
            || (made && next.is_none_or(|next| matches!(next, "please" | "and" | "now" | "instead")))
        {
            return Some(scheme);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_the_subject_and_not_the_request() {
        for (description, title) in [
            (
                "A tide table for the harbour of Cuxhaven with a dark theme and a search field",
                "Tide table for the harbour of Cuxhaven",
            ),
            ("Please build me a page about whales", "Whales"),
            ("Tide table for small boats", "Tide table for small boats"),
            ("A one-page site for my pottery studio: bowls, cups and plates", "Pottery studio"),
            ("A website called “Salt & Rope” for a sailmaker", "Salt & Rope"),
            ("An API that counts buoys", "Counts buoys"),
            ("A portfolio in dark blue", "Portfolio"),
            ("  A bakery\n page ", "Bakery page"),
            ("İstanbul guide", "İstanbul guide"),
            ("", "A new page"),
        ] {
            assert_eq!(Wish::of(description).title, title, "{description}");
        }
        assert!(Wish::of(&"lorem ipsum ".repeat(20)).title.chars().count() <= TITLE_MAX + 1);
    }

    #[test]
    fn what_is_listed_is_taken_apart() {
        for (description, items) in [
            ("A shop with honey, beeswax candles and mead", vec!["Honey", "Beeswax candles", "Mead"]),
            ("A shop for honey with candles and mead, in gold", vec!["Candles", "Mead"]),
            ("A studio: bowls, cups, and the plates.", vec!["Bowls", "Cups", "Plates"]),
            ("A page with a contact form and a red heading", vec![]),
            ("A page about whales", vec![]),
        ] {
            assert_eq!(Wish::of(description).items, items, "{description}");
        }
        let wish = Wish::of("A club page with a table of name, boat and length, a contact form and a counter");
        assert_eq!(wish.parts, [Part::Table, Part::Form, Part::Counter]);
        assert_eq!(wish.columns, ["Name", "Boat", "Length"]);
        let wish = Wish::of("A tide table for Cuxhaven with a search field, a contact form and a counter");
        assert_eq!((wish.columns.len(), wish.items.len()), (0, 0), "{wish:?}");
    }

    #[test]
    fn changes_are_told_from_their_words() {
        let colour = |name| Colour::named(name);
        let heading = |name| vec![Change::Colours(Colours { heading: colour(name), ..Colours::default() })];
        let background = |name| vec![Change::Colours(Colours { background: colour(name), ..Colours::default() })];
        let accent = |name| vec![Change::Colours(Colours { accent: colour(name), ..Colours::default() })];
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (message, expected) in [
            ("Make the heading red", heading("red")),
            ("a dark green headline please", heading("dark green")),
            ("Change the heading to red", heading("red")),
            ("background: light blue", background("light blue")),
            ("Make it purple", accent("purple")),
            ("Blue buttons", accent("blue")),
            ("Make the background dark", vec![Change::Scheme(Scheme::Dark)]),
            ("Make it dark", vec![Change::Scheme(Scheme::Dark)]),
            ("Use a light theme", vec![Change::Scheme(Scheme::Light)]),
            ("Make the background dark blue", background("dark blue")),
            ("Change the title to Salt and Rope", vec![Change::Title("Salt and Rope".into())]),
            ("Change the title to \"Red form\".", vec![Change::Title("Red form".into())]),
            (
                "Add a table of name, boat and length",
                vec![Change::Add(Part::Table, named(&["Name", "Boat", "Length"]))],
            ),
            ("add a contact form", vec![Change::Add(Part::Form, vec![])]),
            ("Add a counter", vec![Change::Add(Part::Counter, vec![])]),
            ("Remove the form", vec![Change::Remove(Part::Form)]),
            ("add a list with bread, milk", vec![Change::Add(Part::List, named(&["Bread", "Milk"]))]),
            ("Show it in German", vec![]),
            ("Lighthouse opening hours", vec![]),
            ("Thank you", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(changes(message), expected, "{message}");
        }
    }

    #[test]
    fn any_text_is_read() {
        for text in ["İİİ called İ", "\u{0}\u{1}", "“", "table", "with ,,, and , and", &"a, ".repeat(10_000)] {
            let wish = Wish::of(text);
            assert!(wish.items.len() <= ITEMS_MAX && wish.words.chars().count() <= SHOWN_MAX + 1);
            changes(text);
        }
    }
}
