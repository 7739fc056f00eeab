//! Changes that are possible on any app's page: colours, light or dark, another title, and parts that are added and
//! removed.
//!
//! Pure. Works on the existing text, whoever wrote it, and explains why a change is not possible.

use std::sync::LazyLock;

use minijinja::{Environment, context};
use regex::Regex;

use super::wishes::{Change, Colours, Part, Scheme};

/// Script of the parts, in a file beside the page.
pub const SCRIPT: &str = include_str!("parts/parts.js");
/// Style sheet of the parts.
pub const STYLE: &str = include_str!("parts/parts.css");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| minijinja::AutoEscape::Html);
    templates.add_template("section.html", include_str!("parts/section.html")).expect("a test renders it");
    templates
});

/// The files of an app's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path of its HTML.
    pub page: String,
    /// The path of its style sheet.
    pub style: String,
    /// Whether new files beside the page are served as well.
    pub serves_files: bool,
}

/// The current content of the page and its style sheet.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// The page.
    pub page: &'a str,
    /// The style sheet.
    pub style: &'a str,
}

/// A change to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Replaces a text of the page, which occurs once.
    Page(String, String),
    /// Replaces a text of the style sheet, which occurs once.
    Style(String, String),
    /// Adds the files that parts need.
    PartFiles,
}

/// The steps of the changes, and their descriptions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// One sentence for each change.
    pub said: Vec<String>,
}

/// A part as HTML, for the page's `main`.
pub fn section(part: Part, title: &str, columns: &[String]) -> String {
    let facts = context! { part => part.word(), title => title, columns => columns.to_vec() };
    let template = TEMPLATES.get_template("section.html");
    template.and_then(|template| template.render(facts)).expect("a test renders it")
}

/// The default title and items of a part.
pub fn usual(part: Part) -> (&'static str, &'static [&'static str]) {
    match part {
        Part::Table => ("Table", &["Name", "Note"]),
        Part::Form => ("Write to us", &[]),
        Part::Counter => ("Counter", &[]),
        Part::List => ("List", &["First", "Second", "Third"]),
    }
}

/// Plans the changes. The error is a sentence that explains why one of them is not possible.
pub fn plan(changes: &[Change], place: &Place, texts: Texts<'_>) -> Result<Plan, String> {
    let mut plan = Plan::default();
    // Each step works on the result of the steps before it.
    let (mut page, mut style) = (texts.page.to_owned(), texts.style.to_owned());
    for change in changes {
        let before = plan.steps.len();
        plan.add(change, place, Texts { page: &page, style: &style })?;
        for step in &plan.steps[before..] {
            match step {
                Step::Page(old, new) => page = page.replacen(old, new, 1),
                Step::Style(old, new) => style = style.replacen(old, new, 1),
                Step::PartFiles => {}
            }
        }
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, change: &Change, place: &Place, texts: Texts<'_>) -> Result<(), String> {
        match change {
            Change::Colours(colours) => self.colours(*colours, texts.style),
            Change::Scheme(scheme) => {
                let (word, said) = match scheme {
                    Scheme::Light => ("light", "The page is light now, whatever the visitor’s system is set to."),
                    Scheme::Dark => ("dark", "The page is dark now, whatever the visitor’s system is set to."),
                };
                self.rule("Light or dark", &format!(":root {{ color-scheme: {word}; }}"), texts.style);
                if !texts.style.contains("light-dark(") {
                    let (paper, ink) =
                        if *scheme == Scheme::Dark { ("#14181c", "#eceff2") } else { ("#ffffff", "#1b1f24") };
                    self.rule("Background", &format!("body {{ background: {paper}; color: {ink}; }}"), texts.style);
                }
                self.said.push(said.to_owned());
                Ok(())
            }
            Change::Title(title) => self.title(title, texts.page),
            Change::Add(part, named) => self.add_part(*part, named, place, texts.page),
            Change::Remove(part) => self.remove(*part, texts.page),
        }
    }

    /// Adds a rule at the end of the style sheet, or replaces an earlier one of the same kind.
    fn rule(&mut self, kind: &str, rule: &str, style: &str) {
        // Planned steps count as done.
        let style = self.steps.iter().fold(style.to_owned(), |style, step| match step {
            Step::Style(old, new) => style.replacen(old, new, 1),
            _ => style,
        });
        let head = format!("/* {kind} */\n");
        if let Some(at) = style.find(&head).filter(|at| style[at + 1..].find(&head).is_none()) {
            let end = style[at..].find("\n\n").map_or(style.len(), |end| at + end);
            let old = style[at..end].trim_end().to_owned();
            if old != format!("{head}{rule}") {
                self.steps.push(Step::Style(old, format!("{head}{rule}")));
            }
            return;
        }
        // The file may or may not end with a line break, which stays after the addition.
        let old = unique_end(style.trim_end());
        let new = format!("{old}\n\n{head}{rule}");
        self.steps.push(Step::Style(old, new));
    }

    fn colours(&mut self, colours: Colours, style: &str) -> Result<(), String> {
        if style.is_empty() {
            return Err("The page has no style sheet, so its colours cannot be changed.".to_owned());
        }
        if let Some(colour) = colours.heading {
            self.rule("Heading colour", &format!("h1 {{ color: {}; }}", colour.as_text()), style);
            self.said
                .push(format!("The heading is {} now, in shades that can be read in light and dark.", colour.name));
        }
        if let Some(colour) = colours.background {
            let back = colour.as_background(None);
            let (paper, ink) = (&back.paper, &back.ink);
            let rule =
                format!(":root {{ --paper: {paper}; --soft: {ink}; }}\nbody {{ background: {paper}; color: {ink}; }}");
            self.rule("Background", &rule, style);
            let scheme = if back.is_dark { "dark" } else { "light" };
            self.rule("Light or dark", &format!(":root {{ color-scheme: {scheme}; }}"), style);
            self.said.push(format!("The background is {} now.", colour.name));
        }
        if let Some(colour) = colours.accent {
            let ((surface, on_surface), text) = (colour.as_surface(), colour.as_text());
            let rule = if style.contains("--accent:") {
                format!(":root {{ --accent: {surface}; --on-accent: {on_surface}; --accent-text: {text}; }}")
            } else {
                format!("a {{ color: {text}; }}\nbutton {{ background: {surface}; color: {on_surface}; }}")
            };
            self.rule("Accent colour", &rule, style);
            self.said.push(format!("Buttons, links and accents are {} now.", colour.name));
        }
        Ok(())
    }

    fn title(&mut self, title: &str, page: &str) -> Result<(), String> {
        static H1: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"(?s)(<h1[^>]*>)(.*?)(</h1>)").expect("a fixed pattern"));
        static TITLE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"(?s)(<title>)(.*?)(</title>)").expect("a fixed pattern"));
        // A program may use `$names` as variables of its page.
        let escaped = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('$', "&#36;");
        let mut done = false;
        for pattern in [&*TITLE, &*H1] {
            let Some(found) = pattern.captures(page) else { continue };
            let old = &found[0];
            let new = format!("{}{escaped}{}", &found[1], &found[3]);
            if page.matches(old).count() == 1 && old != new {
                self.steps.push(Step::Page(old.to_owned(), new));
                done = true;
            }
        }
        if !done {
            return Err("The page has no heading that demo mode can change, or has this title already.".to_owned());
        }
        self.said.push(format!("The title is “{title}” now, on the page and in the browser’s tab."));
        Ok(())
    }

    fn add_part(&mut self, part: Part, named: &[String], place: &Place, page: &str) -> Result<(), String> {
        let word = part.word();
        if !place.serves_files {
            return Err(format!("In demo mode a {word} can be added to static sites only."));
        }
        if page.contains(&format!("id=\"part-{word}\"")) {
            return Err(format!("The page has a {word} already, and demo mode adds one of each kind."));
        }
        let ends = ["</main>", "</body>"].into_iter().find(|end| page.matches(end).count() == 1);
        let Some(end) = ends else {
            return Err(format!("The page has no single main part to put a {word} into."));
        };
        let (title, columns) = usual(part);
        let columns =
            if named.is_empty() { columns.iter().map(|&name| name.to_owned()).collect() } else { named.to_vec() };
        self.steps.push(Step::Page(end.to_owned(), format!("  {}\n    {end}", section(part, title, &columns))));
        if !page.contains("parts.js") {
            if page.matches("</head>").count() != 1 || page.matches("</body>").count() != 1 {
                return Err("The page has no single head and body, so demo mode cannot add to it.".to_owned());
            }
            // Before the page refers to these files.
            self.steps.push(Step::PartFiles);
            self.steps
                .push(Step::Page("</head>".into(), "  <link rel=\"stylesheet\" href=\"parts.css\">\n  </head>".into()));
            self.steps
                .push(Step::Page("</body>".into(), "  <script src=\"parts.js\" defer></script>\n  </body>".into()));
        }
        let what = match part {
            Part::Table => format!("A table of {} stands at the end of the page; visitors add rows that stay in their browser.", and(&columns)),
            Part::Form => "A contact form stands at the end of the page. A static site receives no mail, so it prepares the message for the visitor’s mail program.".to_owned(),
            Part::Counter => "A counter with buttons for more and less stands at the end of the page; it remembers its number.".to_owned(),
            Part::List => format!("A list of {} to tick off stands at the end of the page.", and(&columns)),
        };
        self.said.push(what);
        Ok(())
    }

    fn remove(&mut self, part: Part, page: &str) -> Result<(), String> {
        let word = part.word();
        let missing = || format!("There is no {word} on the page that demo mode can remove.");
        let at = page.find(&format!("<section class=\"part\" id=\"part-{word}\"")).ok_or_else(missing)?;
        let end = page[at..].find("</section>").map(|end| at + end + "</section>".len()).ok_or_else(missing)?;
        let begin = page[..at].trim_end_matches(' ').len();
        let end = if page[end..].starts_with('\n') { end + 1 } else { end };
        let old = &page[begin..end];
        if page.matches(old).count() != 1 {
            return Err(missing());
        }
        self.steps.push(Step::Page(old.to_owned(), String::new()));
        self.said.push(format!("The {word} is gone from the page."));
        Ok(())
    }
}

/// `a, b and c`.
pub fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The shortest sequence of lines at the end of a text that occurs only once in it.
fn unique_end(text: &str) -> String {
    let mut starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len()).collect();
    starts.insert(0, 0);
    let start = starts.into_iter().rev().find(|start| text.matches(&text[*start..]).count() == 1).unwrap_or(0);
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::wishes::changes;
    use super::*;

    const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n  <head>\n    <title>Old</title>\n  </head>\n  <body>\n    <main>\n      <h1 id=\"top\">Old</h1>\n    </main>\n  </body>\n</html>\n";
    const CSS: &str = ":root { --accent: light-dark(#123, #def); }\nbody {\n  margin: 0;\n}\nh1 {\n  margin: 0;\n}\n";

    fn place() -> Place {
        Place { page: "public/index.html".into(), style: "public/style.css".into(), serves_files: true }
    }

    /// The page and the style sheet after a message. Each step's text occurs exactly once at that point.
    fn changed(message: &str, page: &str, style: &str) -> Result<(String, String, bool), String> {
        let plan = plan(&changes(message), &place(), Texts { page, style })?;
        let (mut page, mut style, mut files) = (page.to_owned(), style.to_owned(), false);
        for step in plan.steps {
            let (text, old, new) = match step {
                Step::Page(old, new) => (&mut page, old, new),
                Step::Style(old, new) => (&mut style, old, new),
                Step::PartFiles => {
                    files = true;
                    continue;
                }
            };
            assert_eq!(text.matches(&old).count(), 1, "{message}: {old:?} occurs once");
            *text = text.replacen(&old, &new, 1);
        }
        Ok((page, style, files))
    }

    #[test]
    fn colours_are_rules_that_replace_each_other() {
        let (_, red, _) = changed("Make the heading red", PAGE, CSS).unwrap();
        assert!(
            red.starts_with(CSS)
                && red.ends_with("/* Heading colour */\nh1 { color: light-dark(#d92d20, #de4c41); }\n"),
            "{red}"
        );
        let (_, blue, _) = changed("Make the heading blue", PAGE, &red).unwrap();
        assert_eq!(blue.matches("Heading colour").count(), 1);
        assert!(blue.contains("#1f66d0") && !blue.contains("#d92d20"), "{blue}");
        let (_, both, _) = changed("Make the background dark", PAGE, &blue).unwrap();
        assert!(both.contains("#1f66d0") && both.contains(":root { color-scheme: dark; }"), "{both}");
        let (_, light, _) = changed("Use a light theme and a purple heading", PAGE, &both).unwrap();
        assert!(light.contains(":root { color-scheme: light; }") && !light.contains("#1f66d0"), "{light}");
        let (_, accent, _) = changed("Make it teal", PAGE, &light).unwrap();
        assert!(accent.contains("--accent: light-dark("), "{accent}");
        let (_, navy, _) = changed("Make the background navy", PAGE, CSS).unwrap();
        assert!(navy.contains("color-scheme: dark") && navy.contains("--paper:"), "{navy}");
        assert!(changed("Make the heading red", PAGE, "").is_err());
    }

    #[test]
    fn a_page_without_its_own_dark_colours_gets_some() {
        let (_, style, _) = changed("Make it dark", PAGE, "body { color: #111; }\n").unwrap();
        assert!(style.contains("body { background: #14181c; color: #eceff2; }"), "{style}");
    }

    #[test]
    fn parts_come_and_go() {
        let (page, _, files) = changed("Add a table of name, boat and <b>length</b>", PAGE, CSS).unwrap();
        assert!(files && page.matches("parts.js").count() == 1 && page.matches("parts.css").count() == 1);
        let read = scraper::Html::parse_document(&page);
        let heads: Vec<String> = read
            .select(&scraper::Selector::parse("main #part-table th").unwrap())
            .map(|head| head.text().collect::<String>())
            .collect();
        assert_eq!(&heads[..3], ["Name", "Boat", "<b>length</b>"]);
        let (both, _, again) = changed("Add a contact form and a counter", &page, CSS).unwrap();
        assert!(!again && both.contains("id=\"part-form\"") && both.contains("id=\"part-counter\""));
        assert!(changed("Add another table", &both, CSS).unwrap_err().contains("already"));
        let (without, _, _) = changed("Remove the form", &both, CSS).unwrap();
        assert!(!without.contains("part-form") && without.contains("part-counter") && without.contains("part-table"));
        let (without, _, _) = changed("Remove the table", &without, CSS).unwrap();
        let (without, _, _) = changed("Remove the counter", &without, CSS).unwrap();
        assert_eq!(without.matches("<section").count(), 0);
        assert!(changed("Remove the form", PAGE, CSS).unwrap_err().contains("no form"));
        assert!(changed("Add a counter", "<p>just this</p>", CSS).is_err());
    }

    #[test]
    fn titles_are_set_escaped_in_both_places() {
        let (page, _, _) = changed("Change the title to Salt & <Rope>", PAGE, CSS).unwrap();
        assert!(page.contains("<title>Salt &amp; &lt;Rope&gt;</title>"), "{page}");
        assert!(page.contains("<h1 id=\"top\">Salt &amp; &lt;Rope&gt;</h1>"), "{page}");
        let (page, _, _) = changed("Change the title to Under $5", PAGE, CSS).unwrap();
        assert!(!page.contains('$') && page.contains("<h1 id=\"top\">Under &#36;5</h1>"), "{page}");
        assert!(changed("Change the title to Old", PAGE, CSS).is_err());
    }
}
