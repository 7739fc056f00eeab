//! Finds the addresses that a page links to and loads, and whether it has visible content. Pure.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::css;
use crate::bounded_work::Budget;

/// The use of an address, which determines the expected content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Use {
    /// A link, or a frame.
    Page,
    /// A stylesheet.
    Style,
    /// A script.
    Script,
    /// An image.
    Image,
    /// Any other file.
    File,
}

/// A page.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Unresolved addresses with their use, in order.
    pub(super) links: Vec<(String, Use)>,
    /// The base address, if the page sets one.
    pub(super) base: Option<String>,
    /// It has visible content, or a script that may create some.
    pub(super) shows_something: bool,
}

/// Bytes between two checks of the budget. Within one tag, the parser compares each attribute with all
/// before it, so time grows with the square of their number.
const STEP: usize = 4 * 1024;

/// Parses a page. When the budget is used up, the rest counts as visible content, and its addresses are
/// missing.
pub(super) fn read(html: &str, budget: &Budget) -> Page {
    let tokenizer = Tokenizer::new(Reader::default(), TokenizerOpts::default());
    let mut rest = html;
    while !rest.is_empty() {
        if budget.is_spent() {
            return Page { shows_something: true, ..tokenizer.sink.0.into_inner().page };
        }
        let (step, after) = rest.split_at(rest.floor_char_boundary(STEP));
        let input = BufferQueue::default();
        input.push_back(StrTendril::from(step));
        let _ = tokenizer.feed(&input);
        rest = after;
    }
    tokenizer.end();
    tokenizer.sink.0.into_inner().page
}

#[derive(Default)]
struct Reader(RefCell<State>);

#[derive(Default)]
struct State {
    page: Page,
    /// The current element, if its text is invisible or CSS.
    inside: Option<Inside>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Unseen,
    Style,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => return state.start(&tag),
            Token::TagToken(_) => state.inside = None,
            Token::CharacterTokens(text) => state.text(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name = &*tag.name;
        self.addresses(name, tag);
        match name {
            "script" => {
                self.inside = Some(Inside::Unseen);
                TokenSinkResult::RawData(RawKind::ScriptData)
            }
            "style" => {
                self.inside = Some(Inside::Style);
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            "title" => {
                self.inside = Some(Inside::Unseen);
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }

    fn text(&mut self, text: &str) {
        match self.inside {
            Some(Inside::Unseen) => {}
            Some(Inside::Style) => self.css(text),
            None => self.page.shows_something |= text.chars().any(|c| !c.is_whitespace()),
        }
    }

    fn css(&mut self, text: &str) {
        self.page.links.extend(css::loads(text).into_iter().map(|loaded| match loaded {
            css::Loaded::Style(address) => (address, Use::Style),
            css::Loaded::File(address) => (address, Use::File),
        }));
    }

    fn addresses(&mut self, name: &str, tag: &Tag) {
        let value = |wanted: &str| {
            tag.attrs.iter().find(|attribute| &*attribute.name.local == wanted).map(|attribute| &*attribute.value)
        };
        let mut add = |address: Option<&str>, used: Use| {
            self.page.links.extend(address.map(|address| (address.trim().to_owned(), used)));
        };
        match name {
            "base" if self.page.base.is_none() => {
                self.page.base = value("href").map(|href| href.trim().to_owned());
            }
            "a" | "area" => add(value("href"), Use::Page),
            "iframe" | "frame" => add(value("src"), Use::Page),
            "link" => {
                let rel = value("rel").unwrap_or_default().to_ascii_lowercase();
                let is = |word: &str| rel.split_ascii_whitespace().any(|rel| rel == word);
                if is("stylesheet") {
                    add(value("href"), Use::Style);
                } else if is("modulepreload") {
                    add(value("href"), Use::Script);
                } else if is("icon") || is("apple-touch-icon") || is("mask-icon") {
                    add(value("href"), Use::Image);
                } else if ["manifest", "preload", "prefetch", "alternate", "next", "prev", "help", "license"]
                    .iter()
                    .any(|word| is(word))
                {
                    add(value("href"), Use::File);
                }
            }
            "script" => {
                let kind = value("type").unwrap_or_default().trim().to_ascii_lowercase();
                let is_script = kind.is_empty() || kind == "module" || kind.ends_with("javascript");
                add(value("src"), if is_script { Use::Script } else { Use::File });
            }
            "img" | "source" | "input" | "image" | "use" => {
                let of_image = name != "source" || value("srcset").is_some();
                add(value("src"), if of_image { Use::Image } else { Use::File });
                if matches!(name, "image" | "use") {
                    add(value("href").or_else(|| value("xlink:href")), Use::Image);
                }
                for candidate in value("srcset").map(srcset).unwrap_or_default() {
                    add(Some(candidate), Use::Image);
                }
            }
            "video" | "audio" | "track" | "embed" => {
                add(value("src"), Use::File);
                add(value("poster"), Use::Image);
            }
            "object" => add(value("data"), Use::File),
            _ => {}
        }
        if let Some(style) = value("style") {
            self.css(style);
        }
        self.page.shows_something |= matches!(
            name,
            "img" | "svg" | "canvas" | "video" | "audio" | "iframe" | "object" | "embed" | "input" | "script" | "frame"
        );
    }
}

/// The addresses of a `srcset`.
fn srcset(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return found;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (address, after) = rest.split_at(end);
        let bare = address.trim_end_matches(',');
        found.push(bare);
        // A comma at the end of an address ends the candidate; otherwise its descriptors extend to the next comma.
        rest = if bare.len() < address.len() { after } else { after.split_once(',').map_or("", |(_, rest)| rest) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(html: &str) -> Page {
        super::read(html, &Budget::unlimited())
    }

    #[test]
    fn links_and_loaded_files_of_a_page_are_found() {
        let page = read(
            r#"<!doctype html><base href="/sub/"><base href="/no/"><title>T <a href="no.html"></title>
            <link rel="STYLESHEET" href=" style.css "><link rel="canonical" href="https://else.example/">
            <link rel="preconnect" href="/no"><link rel="shortcut icon" href=favicon.svg>
            <script src="app.js" type="module"></script><script>let no = '<a href="no.html">'; /* <img src=no.png> */</script>
            <style>@import "more.css"; body { background: url(back.png) }</style>
            <!-- <a href="no.html"> --><a href="about.html#top">About</a><a>none</a><a href='#here'>here</a>
            <img src="a.png" srcset="a-1.png 1x, a-2.png 2x,a-3.png"><p style="background: url('b.png')">
            <video poster="p.jpg"><source src="v.mp4"></video><svg><use xlink:href="sprite.svg#x"/></svg>
            <textarea><a href="no.html"></textarea><iframe src="frame.html"></iframe><object data="d.pdf"></object>"#,
        );
        let found: Vec<(&str, Use)> = page.links.iter().map(|(address, used)| (address.as_str(), *used)).collect();
        assert_eq!(
            found,
            [
                ("style.css", Use::Style),
                ("favicon.svg", Use::Image),
                ("app.js", Use::Script),
                ("more.css", Use::Style),
                ("back.png", Use::File),
                ("about.html#top", Use::Page),
                ("#here", Use::Page),
                ("a.png", Use::Image),
                ("a-1.png", Use::Image),
                ("a-2.png", Use::Image),
                ("a-3.png", Use::Image),
                ("b.png", Use::File),
                ("p.jpg", Use::Image),
                ("v.mp4", Use::File),
                ("sprite.svg#x", Use::Image),
                ("frame.html", Use::Page),
                ("d.pdf", Use::File),
            ]
        );
        assert_eq!(page.base.as_deref(), Some("/sub/"));
        assert!(page.shows_something);
    }

    #[test]
    fn an_empty_page_is_detected() {
        for (html, shows) in [
            ("", false),
            ("<!doctype html><title>A title alone</title><body>\n </body>", false),
            ("<style>p { color: red }</style><div id=root></div><!-- words -->", false),
            ("<p>x", true),
            ("<div id=root></div><script src=app.js></script>", true),
            ("<canvas></canvas>", true),
        ] {
            assert_eq!(read(html).shows_something, shows, "{html}");
        }
    }

    #[test]
    fn an_incomplete_page_is_parsed() {
        for html in
            ["<a href=\"x", "<script>if (a < b", "<a href=x>\u{0}</a", "<img srcset=' , ,'>", "<style>@import url("]
        {
            let _ = read(html);
        }
    }

    #[test]
    fn a_page_is_parsed_in_steps_until_the_deadline() {
        let words = "<p>é</p>".repeat(STEP);
        let page = read(&format!("{words}<a href=\"x.html\">x</a><style>@import 'a.css';{}</style>", " ".repeat(STEP)));
        let found: Vec<&str> = page.links.iter().map(|(address, _)| address.as_str()).collect();
        assert_eq!(found, ["x.html", "a.css"]);
        let attributes: String = (0..400_000).map(|n| format!(" a{n:x}")).collect();
        let hostile = format!("<a href=\"first.html\"></a><p{attributes}>");
        // Without the deadline this takes minutes.
        let page = super::read(&hostile, &Budget::of(std::time::Duration::from_millis(100)));
        assert!(page.shows_something);
        assert_eq!(page.links, [("first.html".to_owned(), Use::Page)]);
    }
}
