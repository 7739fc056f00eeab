//! The model's Markdown as HTML that can do no harm: rendered, then cleaned.
//!
//! Knows nothing of turns or streams. Raw HTML in the text is shown as text.

use std::sync::LazyLock;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

use super::format::Html;

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
        .url_schemes(["http", "https", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank");
    cleaner
});

/// Renders a whole text.
pub fn render(text: &str) -> Html {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(text, options).map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
        // A picture would have to be loaded from another host: its words stand for it.
        Event::Start(Tag::Image { dest_url, .. }) => Event::Text(CowStr::from(format!("({dest_url}) "))),
        Event::End(pulldown_cmark::TagEnd::Image) => Event::Text(CowStr::Borrowed("")),
        // Headings of an answer stand below those of the page.
        Event::Start(Tag::Heading { level, id, classes, attrs }) => {
            Event::Start(Tag::Heading { level: lower(level), id, classes, attrs })
        }
        Event::End(pulldown_cmark::TagEnd::Heading(level)) => Event::End(pulldown_cmark::TagEnd::Heading(lower(level))),
        other => other,
    });
    let mut rendered = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut rendered, events);
    Html(CLEANER.clean(&rendered).to_string())
}

fn lower(level: pulldown_cmark::HeadingLevel) -> pulldown_cmark::HeadingLevel {
    use pulldown_cmark::HeadingLevel::{H3, H4, H5, H6};
    match level as u8 {
        1 | 2 => H3,
        3 => H4,
        4 => H5,
        _ => H6,
    }
}

/// Splits a text that is still growing: what can be rendered for good, and the part that can
/// still change its meaning, which is shown as it is. The browser's module splits by the same rule:
/// after the last empty line that stands outside a fenced block.
pub fn split_tail(text: &str) -> (&str, &str) {
    let (mut fenced, mut cut, mut at) = (false, 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let bare = line.trim();
        if bare.starts_with("```") || bare.starts_with("~~~") {
            fenced = !fenced;
        }
        if !fenced && bare.is_empty() && line.ends_with('\n') {
            cut = at;
        }
    }
    text.split_at(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        let html = render("# Hi\n\n- **a** `b`\n\n| x |\n|---|\n| 1 |\n\n```html\n<b>\n```\n").0;
        for piece in ["<h3>Hi</h3>", "<strong>a</strong>", "<code>b</code>", "<td>1</td>", "&lt;b&gt;"] {
            assert!(html.contains(piece), "{piece} in {html}");
        }
    }

    #[test]
    fn nothing_harmful_passes() {
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
            let html = render(attack).0;
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
    fn a_growing_text_is_cut_where_it_cannot_change() {
        assert_eq!(split_tail("One.\n\nTwo"), ("One.\n\n", "Two"));
        assert_eq!(split_tail("One"), ("", "One"));
        assert_eq!(split_tail("A\n\n```\nx\n\ny"), ("A\n\n", "```\nx\n\ny"));
        assert_eq!(split_tail("```\nx\n\ny\n```\n\nz"), ("```\nx\n\ny\n```\n\n", "z"));
    }
}
