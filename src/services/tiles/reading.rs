//! Reads the first heading and a colour of a page. Pure.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::bounded_work::Budget;

/// Characters of a heading.
const HEADING_MAX: usize = 80;
/// Bytes between two checks of the budget.
const STEP: usize = 4 * 1024;
/// Colours that are told apart.
const COLOURS_MAX: usize = 64;

/// What a card shows of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The first heading; else the title.
    pub heading: String,
    /// Its theme colour; else the most frequent one of its style that is not grey.
    pub colour: Option<Colour>,
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl Colour {
    /// `#rgb` or `#rrggbb`, alone or with more behind it.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('#')?;
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        let value = |at: usize, count: usize| u8::from_str_radix(text.get(at..at + count)?, 16).ok();
        match digits {
            3 => Some(Self([value(0, 1)? * 17, value(1, 1)? * 17, value(2, 1)? * 17])),
            6 => Some(Self([value(0, 2)?, value(2, 2)?, value(4, 2)?])),
            _ => None,
        }
    }

    fn is_grey(self) -> bool {
        let (least, most) = (self.0.into_iter().min().unwrap_or(0), self.0.into_iter().max().unwrap_or(0));
        most - least < 40
    }

    /// Whether white text is easier to read on it than black text (WCAG's relative luminance).
    pub fn is_dark(self) -> bool {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05
    }
}

impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The tile of a page with this style sheet; none for a page without a heading and a title.
pub fn read(page: &str, style: &str, budget: &Budget) -> Option<Tile> {
    let tokenizer = Tokenizer::new(Reader::default(), TokenizerOpts::default());
    let mut rest = page;
    while !rest.is_empty() && !budget.is_spent() {
        let (step, after) = rest.split_at(rest.floor_char_boundary(STEP));
        let input = BufferQueue::default();
        input.push_back(StrTendril::from(step));
        let _ = tokenizer.feed(&input);
        rest = after;
    }
    tokenizer.end();
    let found = tokenizer.sink.0.into_inner();
    let heading = [found.heading, found.title].into_iter().map(|text| words(&text)).find(|text| !text.is_empty())?;
    Some(Tile { heading, colour: found.colour.or_else(|| frequent(style)).or_else(|| frequent(&found.style)) })
}

/// On one line, cut.
fn words(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(HEADING_MAX) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line,
    }
}

/// The most frequent colour that is not grey; of equal ones the first.
fn frequent(style: &str) -> Option<Colour> {
    let mut counts: Vec<(Colour, usize)> = Vec::new();
    for (at, _) in style.match_indices('#') {
        let Some(colour) = Colour::parse(&style[at..]).filter(|colour| !colour.is_grey()) else { continue };
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == colour) {
            *count += 1;
        } else if counts.len() < COLOURS_MAX {
            counts.push((colour, 1));
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(colour, _)| colour)
}

#[derive(Default)]
struct Reader(RefCell<Found>);

#[derive(Default)]
struct Found {
    heading: String,
    title: String,
    style: String,
    colour: Option<Colour>,
    inside: Inside,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    Heading,
    Title,
    Style,
    Other,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut found = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return found.start(&tag),
            Token::TagToken(tag) if found.inside != Inside::Heading || &*tag.name == "h1" => {
                found.inside = Inside::Nothing;
            }
            Token::CharacterTokens(text) => found.text(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Found {
    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let attribute = |name: &str| tag.attrs.iter().find(|attr| &*attr.name.local == name).map(|attr| &*attr.value);
        match &*tag.name {
            "meta" if attribute("name") == Some("theme-color") && self.colour.is_none() => {
                self.colour = attribute("content").map(str::trim).and_then(Colour::parse);
            }
            "h1" if self.heading.trim().is_empty() => self.inside = Inside::Heading,
            // Its parts are words of their own.
            _ if self.inside == Inside::Heading => self.heading.push(' '),
            _ => {}
        }
        match &*tag.name {
            "title" => {
                if self.inside == Inside::Nothing && self.title.is_empty() {
                    self.inside = Inside::Title;
                }
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            "style" => {
                self.inside = Inside::Style;
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            "script" => {
                self.inside = Inside::Other;
                TokenSinkResult::RawData(RawKind::ScriptData)
            }
            "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }

    fn text(&mut self, text: &str) {
        match self.inside {
            Inside::Heading if self.heading.len() < 4 * HEADING_MAX => self.heading.push_str(text),
            Inside::Title if self.title.len() < 4 * HEADING_MAX => self.title.push_str(text),
            Inside::Style => self.style.push_str(text),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(page: &str, style: &str) -> Option<(String, Option<String>)> {
        let found = read(page, style, &Budget::unlimited());
        found.map(|tile| (tile.heading, tile.colour.map(|colour| colour.to_string())))
    }

    #[test]
    fn heading_and_colour_of_a_page() {
        let css = "body { color: #222; background: #fff } a { color: #b45309 } h1 { color: #b45309 } b { color: #0a0 }";
        let page = "<!doctype html><title>T</title><script>'<h1>no</h1>'</script><h1 class=a>Crumb &amp;<br>\n <em>Crust</em></h1><h1>Two</h1>";
        assert_eq!(tile(page, css), Some(("Crumb & Crust".into(), Some("#b45309".into()))));
        let meta = "<meta name=theme-color content=' #0A6 '><title>Only a title</title>";
        assert_eq!(tile(meta, css), Some(("Only a title".into(), Some("#00aa66".into()))));
        assert_eq!(tile("<h1></h1><h1>Second</h1>", ""), Some(("Second".into(), None)));
        assert_eq!(
            tile("<style>p { color: #00f }</style><h1>x</h1>", "p { color: #777777 }").and_then(|tile| tile.1),
            Some("#0000ff".into())
        );
        assert_eq!(tile("<p>No heading</p>", css), None);
        for bad in ["red", "#12", "#12345", "#1234567", "url(x)#", "#ü"] {
            assert_eq!(Colour::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn foreign_text_is_bounded() {
        let long = format!("<h1>{}</h1>", "word \u{7}".repeat(50_000));
        let (heading, _) = tile(&long, "").expect("a tile");
        assert!(heading.ends_with('…') && heading.chars().count() <= HEADING_MAX + 1, "{heading}");
        let many = (0..5_000).map(|n| format!("#{n:06x}")).collect::<Vec<_>>().join(" ");
        let _ = tile("<h1>x</h1>", &many);
        let spent = Budget::unlimited();
        spent.cancel();
        assert_eq!(read("<h1>x</h1>", "", &spent), None);
    }

    #[test]
    fn text_is_readable_on_each_colour() {
        assert!(Colour([0, 0, 0]).is_dark() && Colour([180, 83, 9]).is_dark());
        assert!(!Colour([255, 255, 255]).is_dark() && !Colour([250, 204, 21]).is_dark());
    }
}
