//! The model's Markdown as safe HTML: rendered, then sanitized.
//!
//! Independent of turns and streams. Raw HTML in the text is shown as text. The text's length and nesting are
//! limited before it is parsed.

use std::sync::LazyLock;
use std::time::Duration;

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream, html,
};

use super::format::Html;
use super::highlight::{self, WithoutColours, escape_into};
use super::ui;
use crate::bounded_work::{Budget, Kept};

mod nesting;

use nesting::shallow;

static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let mut cleaner = ammonia::Builder::empty();
    cleaner
        .tags(
            [
                "a",
                "blockquote",
                "br",
                "code",
                "del",
                "em",
                "h3",
                "h4",
                "h5",
                "h6",
                "hr",
                "li",
                "ol",
                "p",
                "pre",
                "span",
                "strong",
                "table",
                "tbody",
                "td",
                "th",
                "thead",
                "tr",
                "ul",
            ]
            .into(),
        )
        .add_tag_attributes("a", ["href", "title"])
        .add_tag_attributes("ol", ["start"])
        .add_allowed_classes("span", highlight::CLASS_NAMES)
        // Long lines scroll, by keyboard as well.
        .set_tag_attribute_value("pre", "tabindex", "0")
        .url_schemes(["http", "https", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank");
    cleaner
});

/// Maximum bytes of one text that are rendered.
pub const RENDERED_MAX: usize = 128 * 1024;
/// Maximum nesting of rendered elements: twenty lists, a table, and emphasis in it.
pub const DEPTH_MAX: usize = 48;
/// Nesting of elements inside a table: its head, its row and its cell.
const TABLE_DEPTH: usize = 3;
/// Nesting of elements around and inside a code block.
const CODE_DEPTH: usize = 3;
/// Time for the colours of an answer's code.
const COLOUR_TIME: Duration = Duration::from_millis(400);
/// Size of the cache of rendered texts, in bytes.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// How long an unrendered text stays in the cache before rendering is retried.
const KEPT_PLAIN: Duration = Duration::from_mins(1);

/// A rendered text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The HTML.
    pub html: Html,
    /// Number of bytes at the end of the text that are left out.
    pub left_out: usize,
}

static KEPT: LazyLock<Kept<Rendered>> = LazyLock::new(|| Kept::new(KEPT_BYTES));

/// Renders a text: its first [`RENDERED_MAX`] bytes, and nesting as deep as users write it. Results are
/// cached. If the budget is used up first, the text is shown unrendered. CPU-bound: call
/// it off the async threads.
pub fn render(text: &str, budget: &Budget) -> Rendered {
    let shown = beginning(text);
    let key = Kept::<Rendered>::key(&[shown.as_bytes()]);
    let left_out = text.len() - shown.len();
    if let Some(kept) = KEPT.get(&key) {
        return Rendered { left_out, ..kept };
    }
    let formatted = formatted(&shallow(shown), budget);
    let is_complete = formatted.as_ref().is_some_and(|formatted| formatted.is_coloured);
    let time = (!is_complete).then_some(KEPT_PLAIN);
    let html = formatted.map_or_else(|| plain(shown), |formatted| formatted.html);
    let rendered = Rendered { html, left_out };
    if !budget.is_cancelled() {
        KEPT.put(key, rendered.clone(), rendered.html.0.len(), time);
    }
    rendered
}

/// The first lines of a text, up to the limit.
fn beginning(text: &str) -> &str {
    if text.len() <= RENDERED_MAX {
        return text;
    }
    let text = &text[..text.floor_char_boundary(RENDERED_MAX)];
    text.rfind('\n').map_or(text, |end| &text[..=end])
}

/// The unrendered text with its line breaks.
pub fn plain(text: &str) -> Html {
    let mut html = String::from(r#"<p class="tail">"#);
    escape_into(text, &mut html);
    html.push_str("</p>");
    Html(html)
}

struct Formatted {
    html: Html,
    /// All code has its colours, as far as it can have any.
    is_coloured: bool,
}

/// `None` if the budget was used up first. Colours are left out when they take too long.
fn formatted(text: &str, budget: &Budget) -> Option<Formatted> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut nesting = Nesting::default();
    let events = Parser::new_ext(text, options)
        .take_while(|_| !budget.is_spent())
        .filter_map(|event| nesting.keep(event))
        .map(|event| match event {
            Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
            Event::TaskListMarker(done) => Event::Text(CowStr::Borrowed(if done { "☑ " } else { "☐ " })),
            // An image would be loaded from another host, so its alternative text replaces it.
            Event::Start(Tag::Image { dest_url, .. }) => Event::Text(CowStr::from(format!("({dest_url}) "))),
            Event::End(TagEnd::Image) => Event::Text(CowStr::Borrowed("")),
            // Headings of an answer get levels below those of the page.
            Event::Start(Tag::Heading { level, id, classes, attrs }) => {
                Event::Start(Tag::Heading { level: lower(level), id, classes, attrs })
            }
            Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
            other => other,
        });
    // All of it is read before anything is coloured, which may use up the rest of the time.
    let events: Vec<Event<'_>> = TextMergeStream::new(events).collect();
    budget.check().ok()?;
    let colours = budget.at_most(COLOUR_TIME);
    let (mut written, mut is_coloured) = (Vec::with_capacity(events.len()), true);
    let mut code: Option<(String, String)> = None;
    let mut in_link = 0_usize;
    for event in events {
        match (event, &mut code) {
            (Event::Start(Tag::CodeBlock(kind)), _) => code = Some((language(&kind), String::new())),
            (Event::End(TagEnd::CodeBlock), _) => {
                if let Some((language, text)) = code.take() {
                    let coloured = highlight::render(&format!("code.{language}"), &text, &colours);
                    is_coloured &= !matches!(coloured.without, Some(WithoutColours::From(_)));
                    written.push(Event::Html(CowStr::from(format!("<pre><code>{}</code></pre>\n", coloured.html))));
                }
            }
            (Event::Text(text), Some((_, block))) => block.push_str(&text),
            (Event::Text(text), None) if in_link == 0 => link_addresses(text, &mut written),
            (event, _) => {
                match event {
                    Event::Start(Tag::Link { .. }) => in_link += 1,
                    Event::End(TagEnd::Link) => in_link = in_link.saturating_sub(1),
                    _ => {}
                }
                written.push(event);
            }
        }
    }
    let mut rendered = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut rendered, written.into_iter());
    let html = Html(with_copy_buttons(&with_tasks(&CLEANER.clean(&rendered).to_string())));
    Some(Formatted { html, is_coloured })
}

/// The file extension for the language that a code block names.
fn language(kind: &CodeBlockKind<'_>) -> String {
    let CodeBlockKind::Fenced(info) = kind else { return String::new() };
    let word: String = info.chars().take_while(char::is_ascii_alphanumeric).take(16).collect();
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "python" | "python3" => "py".to_owned(),
        "javascript" | "node" => "js".to_owned(),
        "typescript" => "ts".to_owned(),
        "bash" | "shell" | "console" | "zsh" => "sh".to_owned(),
        "yml" => "yaml".to_owned(),
        "markdown" => "md".to_owned(),
        "rust" => "rs".to_owned(),
        _ => word,
    }
}

/// Addresses that stand bare in a text become links.
fn link_addresses<'a>(text: CowStr<'a>, out: &mut Vec<Event<'a>>) {
    let mut rest: &str = &text;
    let mut found = Vec::new();
    while let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        let address = &rest[at..];
        let end = address.find(|c: char| c.is_whitespace() || "<>\"'`|".contains(c)).unwrap_or(address.len());
        let mut address = &address[..end];
        // What ends a sentence or closes a bracket around the address is not part of it.
        loop {
            let closes = |open: char, close: char| {
                address.ends_with(close) && address.matches(close).count() > address.matches(open).count()
            };
            let trims = address.ends_with(['.', ',', ';', ':', '!', '?', '*', '_', '…', '”', '’'])
                || closes('(', ')')
                || closes('[', ']');
            let Some(last) = address.chars().next_back().filter(|_| trims) else { break };
            address = &address[..address.len() - last.len_utf8()];
        }
        let begins_word = rest[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let has_host = address.split_once("://").is_some_and(|(_, host)| host.starts_with(char::is_alphanumeric));
        let taken = at + address.len().max("http://".len());
        if begins_word && has_host {
            found.push((rest[..at].to_owned(), address.to_owned()));
            rest = &rest[at + address.len()..];
        } else {
            found.push((rest[..taken].to_owned(), String::new()));
            rest = &rest[taken..];
        }
    }
    if found.is_empty() {
        out.push(Event::Text(text));
        return;
    }
    let rest = rest.to_owned();
    for (before, address) in found {
        out.push(Event::Text(CowStr::from(before)));
        if !address.is_empty() {
            let address = CowStr::from(address);
            out.push(Event::Start(Tag::Link {
                link_type: LinkType::Autolink,
                dest_url: address.clone(),
                title: CowStr::Borrowed(""),
                id: CowStr::Borrowed(""),
            }));
            out.push(Event::Text(address));
            out.push(Event::End(TagEnd::Link));
        }
    }
    out.push(Event::Text(CowStr::from(rest)));
}

/// Each code block of clean HTML with a button that copies it; text in it cannot look like an element.
fn with_copy_buttons(html: &str) -> String {
    let button = format!(
        r#"<div class="code-block"><button class="button quiet square small js" type="button" data-copy-code aria-label="Copy the code" title="Copy">{}</button><pre"#,
        ui::icon("copy")
    );
    html.replace("<pre", &button).replace("</pre>", "</pre></div>")
}

/// Items of task lists have their box in place of a bullet.
fn with_tasks(html: &str) -> String {
    let mut html = html.to_owned();
    for (item, task) in [("<li>☑ ", "<li class=\"task\">☑ "), ("<li>☐ ", "<li class=\"task\">☐ ")] {
        html = html.replace(item, task);
    }
    html
}

/// Removes elements that are nested too deeply, but keeps their content: sanitizer and browser take
/// time that grows with the square of the depth.
#[derive(Default)]
struct Nesting {
    /// For each open element, whether it is removed.
    left_out: Vec<bool>,
    /// The open table is removed, so its rows are removed too.
    no_table: bool,
}

impl Nesting {
    fn keep<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::Start(tag) => {
                let within = match tag {
                    Tag::Table(_) => TABLE_DEPTH,
                    // A list needs its items.
                    Tag::List(_) => 1,
                    // With its button, its code and its colours.
                    Tag::CodeBlock(_) => CODE_DEPTH,
                    _ => 0,
                };
                let of_table = matches!(tag, Tag::TableHead | Tag::TableRow | Tag::TableCell);
                let leave_out = self.left_out.len() + 1 + within > DEPTH_MAX || (of_table && self.no_table);
                self.no_table |= leave_out && matches!(tag, Tag::Table(_));
                self.left_out.push(leave_out);
                if leave_out { is_block(tag.to_end()).then_some(Event::SoftBreak) } else { Some(Event::Start(tag)) }
            }
            Event::End(tag) => {
                let was_left_out = self.left_out.pop().unwrap_or(true);
                if tag == TagEnd::Table {
                    self.no_table = false;
                }
                (!was_left_out).then_some(Event::End(tag))
            }
            other => Some(other),
        }
    }
}

fn is_block(tag: TagEnd) -> bool {
    !matches!(tag, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
}

fn lower(level: HeadingLevel) -> HeadingLevel {
    use HeadingLevel::{H3, H4, H5, H6};
    match level as u8 {
        1 | 2 => H3,
        3 => H4,
        4 => H5,
        _ => H6,
    }
}

/// Finds the parts of a growing text that do not change any more. A part ends with an empty line outside a fenced block;
/// the text after the last part may still change its meaning. The parts depend only on the text, not on the pieces in
/// which it arrives.
#[derive(Debug, Clone, Default)]
pub struct ClosedParts {
    /// Start of the first incomplete line, in bytes.
    scanned: usize,
    /// End of the last closed part, in bytes.
    closed: usize,
    /// The scan is inside a fenced block.
    fenced: bool,
}

impl ClosedParts {
    /// The parts that were closed since the last call, without empty ones. `text` is the text of the last call
    /// with more text appended.
    pub fn next<'a>(&mut self, text: &'a str) -> Vec<&'a str> {
        let mut parts = Vec::new();
        for line in text[self.scanned..].split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            self.scanned += line.len();
            let bare = line.trim();
            if bare.starts_with("```") || bare.starts_with("~~~") {
                self.fenced = !self.fenced;
            }
            if !self.fenced && bare.is_empty() {
                let part = &text[self.closed..self.scanned];
                self.closed = self.scanned;
                if !part.trim().is_empty() {
                    parts.push(part);
                }
            }
        }
        parts
    }

    /// The end of the last closed part, in bytes.
    pub fn end(&self) -> usize {
        self.closed
    }

    /// The text after the last closed part.
    pub fn tail<'a>(&self, text: &'a str) -> &'a str {
        &text[self.closed..]
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    use super::*;

    fn html(text: &str) -> String {
        render(text, &Budget::unlimited()).html.0
    }

    #[test]
    fn markdown_becomes_html() {
        let html = html("# Hi\n\n- **a** `b`\n\n| x |\n|---|\n| 1 |\n\n```html\n<b>\n```\n");
        for piece in ["<h3>Hi</h3>", "<strong>a</strong>", "<code>b</code>", "<td>1</td>", "&lt;"] {
            assert!(html.contains(piece), "{piece} in {html}");
        }
    }

    #[test]
    fn task_lists_show_what_is_done() {
        let html = html("- [x] shop\n- [ ] cook <input>\n");
        assert!(
            html.contains(r#"<li class="task">☑ shop"#) && html.contains("☐ cook") && !html.contains("<input"),
            "{html}"
        );
    }

    #[test]
    fn bare_addresses_become_links_and_stay_whole() {
        for (text, address, after) in [
            ("See https://example.org/a_b?x=1&y=2.", "https://example.org/a_b?x=1&amp;y=2", "</a>."),
            ("(http://example.org/wiki/Tide_(sea))", "http://example.org/wiki/Tide_(sea)", "</a>)"),
            ("**https://example.org**", "https://example.org", "</a></strong>"),
        ] {
            let html = html(text);
            assert!(html.contains(&format!(r#"href="{address}""#)), "{html}");
            assert!(html.contains(&format!("{address}{after}")), "{html}");
        }
        for text in ["`https://example.org`", "https://", "http:// x", "```\nhttps://example.org\n```"] {
            assert!(!html(text).contains("<a"), "{}", html(text));
        }
        let once = html("[words](https://example.org) and [https://a.test](https://example.org)");
        assert_eq!(once.matches("<a ").count(), 2, "{once}");
    }

    #[test]
    fn code_blocks_have_colours_a_button_and_the_focus() {
        let html = html("```python\ndef tide():  # high\n    return \"<b>\"\n```\n");
        assert!(html.contains(r#"<pre tabindex="0"><code>"#) && html.contains("data-copy-code"), "{html}");
        assert!(html.contains(r#"<span class="hc">"#) && html.contains("&lt;b&gt;"), "{html}");
        assert!(!html.contains("<b>"), "{html}");
    }

    #[test]
    fn harmful_html_is_removed() {
        let attacks = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "[x](java&#x0a;script:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "![x](https://evil.test/pixel.png)",
            "<a href=\"https://a.test\" onclick=\"x()\">y</a>",
            "<div hx-get=\"/apps\" hx-trigger=\"load\">z</div>",
            "<hx-partial hx-target=\"body\">z</hx-partial>",
            "<style>body{display:none}</style>",
            "[x](/logout)",
            "[x](vbscript:x)",
            "<iframe src=//evil.test></iframe>",
            "<svg/onload=alert(1)>",
        ];
        for attack in attacks {
            let html = html(attack);
            let fragment = scraper::Html::parse_fragment(&html);
            for node in fragment.tree.nodes() {
                let Some(element) = node.value().as_element() else { continue };
                assert!(
                    ["html", "head", "body", "p", "a", "em", "strong", "code"].contains(&element.name()),
                    "{attack} made <{}>: {html}",
                    element.name()
                );
                for (name, value) in element.attrs() {
                    assert!(["href", "rel", "target", "title"].contains(&name), "{attack} made {name}: {html}");
                    assert!(name != "href" || value.starts_with("https://"), "{attack} made {value}");
                }
            }
        }
    }

    #[test]
    fn a_growing_text_is_split_where_it_cannot_change() {
        let text = "One.\n\n\nTwo\n \n```\nx\n\ny\n```\n\nZwölf\n";
        let expected = ["One.\n\n", "Two\n \n", "```\nx\n\ny\n```\n\n"];
        let mut at_once = ClosedParts::default();
        assert_eq!(at_once.next(text), expected);
        assert_eq!(at_once.tail(text), "Zwölf\n");
        assert_eq!(at_once.next(text), [""; 0]);
        // In pieces of any size.
        let mut growing = ClosedParts::default();
        let mut parts = Vec::new();
        for (end, _) in text.char_indices() {
            parts.extend(growing.next(&text[..end]).into_iter().map(str::to_owned));
        }
        assert_eq!(parts, expected);
        let mut open = ClosedParts::default();
        assert_eq!(open.next("A\n\n```\nx\n\ny"), ["A\n\n"]);
        assert_eq!(open.tail("A\n\n```\nx\n\ny"), "```\nx\n\ny");
    }

    /// The nesting depth of a fragment's elements.
    fn depth(html: &str) -> usize {
        let fragment = scraper::Html::parse_fragment(html);
        fragment.tree.nodes().map(|node| node.ancestors().count()).max().unwrap_or(0)
    }

    /// Markers of containers, and of inline elements.
    const PIECES: &[&str] = &[
        "- ", "* ", "+ ", "1. ", "12) ", "> ", ">", "-\t", "  ", "    ", "\t", "\n", "\r", "\r\n", "\n\n", "a ", "a",
        "# ", "```\n", "~~~\n", "*", "_", "**", "~~", "`", "``", "[", "]", "](b)", "![", "(", ")", "<", "<a>",
        "<div>\n", "<!--", "|", "|-|-|\n", "&amp;", "&#", "\\", "[a]: b\n", "---\n", "===\n", "é",
    ];

    #[test]
    fn nesting_is_limited_for_every_kind_of_container() {
        let deep = |marker: &str, times: usize| format!("{}a", marker.repeat(times));
        let mut texts: Vec<String> =
            ["- ", "* ", "1. ", "> ", ">", "- > ", "-\t", "   > "].iter().map(|m| deep(m, 12_000)).collect();
        // Nested over many lines, and then continued by lines that close nothing.
        texts.push((0..300).map(|n| format!("{}- a\n", " ".repeat(2 * n))).collect());
        texts.push((0..40).map(|n| format!("{}{}a\n", " ".repeat(40 * n), "- ".repeat(20))).collect());
        texts.push(format!("{}\n{}", deep("> ", 8_000), "b\n".repeat(8_000)));
        texts.push(format!("{}\n{}", deep("- ", 8_000), "b\n\n".repeat(8_000)));
        texts.push(format!("a\r{}", deep("> ", 8_000)));
        texts.push(format!("{}a{}", "**a ".repeat(5_000), " a**".repeat(5_000)));
        texts.push(format!("{}a{}", "*_".repeat(5_000), "_*".repeat(5_000)));
        texts.push(format!("{}a{}", "![".repeat(5_000), "](b)".repeat(5_000)));
        let table = format!("{}|a|b|\n{}|-|-|\n{}|c|d|\n", "> ".repeat(19), "> ".repeat(19), "> ".repeat(19));
        texts.push(table);
        for text in texts {
            let html = html(&text);
            // The root, the html element and the text node add to the depth.
            assert!(depth(&html) <= DEPTH_MAX + 3, "{} deep: {}", depth(&html), &text[..40]);
            assert!(html.len() < text.len() * 12, "{} bytes of {}: {}", html.len(), text.len(), &text[..40]);
        }
    }

    #[test]
    fn ordinary_nesting_is_rendered_unchanged() {
        let list: String = (0..12).map(|n| format!("{}- item {n}\n", "  ".repeat(n))).collect();
        assert_eq!(html(&list).matches("<ul>").count(), 12);
        assert_eq!(html(&format!("{}a", "> ".repeat(20))).matches("<blockquote>").count(), 20);
        let quoted = html(&format!("{}a", "> ".repeat(22)));
        assert!(quoted.matches("<blockquote>").count() == 20 && quoted.contains("&gt; &gt; a"), "{quoted}");
    }

    #[test]
    fn any_text_is_rendered_with_its_words_within_the_bounds() {
        let mut random = StdRng::seed_from_u64(8);
        for round in 0..400 {
            let mut text = String::new();
            let repeats = random.random_range(1..60);
            let runs = random.random_range(1..12);
            for _ in 0..runs {
                let piece: String =
                    (0..random.random_range(1..4)).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
                text.push_str(&piece.repeat(random.random_range(1..=repeats)));
            }
            text.push_str("\n\nwordattheend");
            let html = html(&text);
            assert!(depth(&html) <= DEPTH_MAX + 3, "round {round}: {text:?}");
            assert!(html.contains("wordattheend"), "round {round}: {text:?} became {html:?}");
        }
    }

    #[test]
    fn a_long_text_is_truncated_at_a_line_and_reports_the_rest() {
        let text = "A line of words.\n\n".repeat(RENDERED_MAX / 10);
        let rendered = render(&text, &Budget::unlimited());
        assert!(rendered.left_out >= text.len() - RENDERED_MAX && rendered.left_out < text.len() - RENDERED_MAX + 40);
        assert!(rendered.html.0.ends_with("<p>A line of words.</p>\n"));
        assert_eq!(render("short", &Budget::unlimited()).left_out, 0);
    }

    #[test]
    fn without_time_a_text_is_shown_unrendered() {
        let budget = Budget::of(Duration::ZERO);
        let rendered = render("**never** <seen> before", &budget);
        assert_eq!(rendered.html.0, r#"<p class="tail">**never** &lt;seen&gt; before</p>"#);
    }

    #[test]
    fn rendered_text_is_cached() {
        let text = format!("Kept: {}", "*a* ".repeat(500));
        let first = render(&text, &Budget::unlimited());
        assert!(first.html.0.contains("<em>a</em>"));
        assert_eq!(render(&text, &Budget::of(Duration::ZERO)), first, "without any time");
    }
}
