//! The apps of the demo model: a small working app for each template, and a visible change to it.
//!
//! The templates' filters escape the user's text for the language of the file.

use std::sync::LazyLock;

use minijinja::{Environment, context};

/// Maximum length of a heading, in characters.
const HEADING_MAX: usize = 80;
/// Maximum length of the user's text in a file, in characters.
const WORDS_MAX: usize = 2_000;

/// The next section of a page is inserted above this line.
const HTML_MARKER: &str = "<!-- demo: the next section goes above this line -->";
/// The next request of a program is inserted above this line.
const PYTHON_MARKER: &str = "# demo: the next line goes above this one";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // JavaScript and Python get literals, never HTML's escapes. A template reads this setting when it is added.
    templates.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "html")) => minijinja::AutoEscape::Html,
        _ => minijinja::AutoEscape::None,
    });
    templates.add_filter("literal", literal);
    // JavaScript and Python get literals, never HTML's escapes. A template keeps the setting from when it was added.
    templates.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "html")) => minijinja::AutoEscape::Html,
        _ => minijinja::AutoEscape::None,
    });
    for (name, source) in [
        ("index.html", include_str!("files/index.html")),
        ("section.html", include_str!("files/section.html")),
        ("style.css", include_str!("files/style.css")),
        ("script.js", include_str!("files/script.js")),
        ("api.py", include_str!("files/api.py")),
        ("webhook.py", include_str!("files/webhook.py")),
        ("job.py", include_str!("files/job.py")),
    ] {
        templates.add_template(name, source).expect("a test renders each of them");
    }
    templates
});

/// Text as a JSON string literal, which is valid in Python and JavaScript.
fn literal(text: String) -> String {
    serde_json::Value::from(text).to_string()
}

/// The kind of app in a workspace, detected from its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `public/index.html`
    Site,
    /// `main.py` without `verify.py`.
    Api,
    /// `main.py` and `verify.py`.
    Webhook,
    /// `job.py`
    Job,
    /// None of these: a custom template.
    Other,
}

impl Kind {
    /// Detects the kind from the paths in the workspace.
    pub fn of(paths: &[&str]) -> Self {
        let has = |path| paths.contains(&path);
        if has("public/index.html") {
            Self::Site
        } else if has("verify.py") && has("main.py") {
            Self::Webhook
        } else if has("main.py") {
            Self::Api
        } else if has("job.py") {
            Self::Job
        } else {
            Self::Other
        }
    }

    /// The file that shows the user's text.
    pub fn main_file(self) -> &'static str {
        match self {
            Self::Site => "public/index.html",
            Self::Api | Self::Webhook => "main.py",
            Self::Job => "job.py",
            Self::Other => "NOTES.md",
        }
    }

    /// A noun with an article.
    pub fn described(self) -> String {
        let article = if self == Self::Api { "an" } else { "a" };
        format!("{article} {}", self.noun())
    }

    /// A noun for sentences.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Site => "page",
            Self::Api => "API",
            Self::Webhook => "webhook",
            Self::Job => "job",
            Self::Other => "note",
        }
    }
}

/// The user's text, split for the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The whole text on one line, truncated.
    pub all: String,
    /// The beginning, short enough for a heading.
    pub heading: String,
    /// The whole text, if the heading does not contain all of it.
    pub rest: Option<String>,
}

impl Words {
    /// Splits the user's text.
    pub fn of(prompt: &str) -> Self {
        // Control characters must not occur in a page or a log line.
        let clean: String = prompt.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = shortened(&words, WORDS_MAX);
        let heading = shortened(first_sentence(&all), HEADING_MAX);
        let rest = (heading != all).then(|| all.clone());
        Self { all, heading, rest }
    }
}

/// The first sentence without its punctuation mark; the whole text if there is only one.
fn first_sentence(words: &str) -> &str {
    let end = [". ", "! ", "? ", ": ", "; "].iter().filter_map(|mark| words.find(mark)).filter(|at| *at >= 8).min();
    words[..end.unwrap_or(words.len())].trim_end_matches('.')
}

/// At most `max` characters, truncated between words if possible.
fn shortened(text: &str, max: usize) -> String {
    let Some((cut, _)) = text.char_indices().nth(max) else { return text.to_owned() };
    let cut = text[..cut].rfind(' ').filter(|at| at * 2 > cut).unwrap_or(cut);
    format!("{}…", text[..cut].trim_end())
}

fn render(name: &str, words: &Words) -> String {
    let facts = context! { heading => &words.heading, rest => &words.rest, words => &words.all };
    let template = TEMPLATES.get_template(name);
    let text = template.and_then(|template| template.render(facts)).expect("a test renders each of them");
    // The template engine drops a file's last line end.
    text + "\n"
}

/// A new app's files, in the order of writing.
pub fn new_app(kind: Kind, words: &Words) -> Vec<(&'static str, String)> {
    let main = kind.main_file();
    match kind {
        Kind::Site => vec![
            (main, render("index.html", words)),
            ("public/style.css", render("style.css", words)),
            ("public/script.js", render("script.js", words)),
        ],
        Kind::Api => vec![(main, render("api.py", words))],
        Kind::Webhook => vec![(main, render("webhook.py", words))],
        Kind::Job => vec![(main, render("job.py", words))],
        Kind::Other => vec![(main, format!("# Notes\n\n- {}\n", words.all))],
    }
}

/// A change to an app of the demo model: the text to replace, and the new text. `None` if the
/// file was not written by the demo model, or was changed since.
pub fn change(kind: Kind, content: &str, words: &Words) -> Option<(String, String)> {
    match kind {
        Kind::Site => (content.matches(HTML_MARKER).count() == 1).then(|| {
            let number = content.matches("id=\"change-").count() + 1;
            let facts = context! {
                heading => &words.heading, rest => &words.rest, number => number, marker => HTML_MARKER
            };
            let template = TEMPLATES.get_template("section.html");
            let section = template.and_then(|template| template.render(facts)).expect("a test renders each of them");
            (HTML_MARKER.to_owned(), section.trim_end().to_owned())
        }),
        Kind::Api | Kind::Webhook | Kind::Job => (content.matches(PYTHON_MARKER).count() == 1)
            .then(|| (PYTHON_MARKER.to_owned(), format!("{},\n    {PYTHON_MARKER}", literal(words.all.clone())))),
        Kind::Other => {
            let last = content.lines().rfind(|line| line.starts_with("- "))?;
            (content.matches(last).count() == 1).then(|| (last.to_owned(), format!("{last}\n- {}", words.all)))
        }
    }
}

/// The cron expression (UTC) that the text describes, if it can be recognised.
pub fn schedule(words: &str) -> Option<String> {
    let words = words.to_lowercase();
    let after = |phrase: &str| words.split_once(phrase).map(|(_, rest)| rest);
    let number = |text: &str| -> Option<u32> {
        let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    if let Some(minutes) = after("every ").and_then(|rest| number(rest).filter(|_| rest.contains("minute"))) {
        return (1..=59).contains(&minutes).then(|| format!("*/{minutes} * * * *"));
    }
    if words.contains("every minute") {
        return Some("* * * * *".into());
    }
    if words.contains("every hour") || words.contains("hourly") {
        return Some("0 * * * *".into());
    }
    let days = if words.contains("every day") || words.contains("daily") || words.contains("every morning") {
        "* * *"
    } else if words.contains("monday") {
        "* * 1"
    } else {
        return None;
    };
    let hour = after(" at ").and_then(|rest| {
        let hour = number(rest)?;
        let afternoon =
            rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with("pm");
        Some(if afternoon && hour < 12 { hour + 12 } else { hour })
    });
    Some(format!("0 {} {days}", hour.filter(|hour| *hour < 24).unwrap_or(7)))
}

/// The line of an `app.toml` that sets the schedule.
pub fn schedule_line(app_toml: &str) -> Option<&str> {
    app_toml.lines().find(|line| line.trim_start().starts_with("schedule") && line.contains('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str =
        "A \"page\" of <script>alert('x')</script> & {{ jinja }} \\n \u{0}'''\"\"\" %s 日本 🎉\nline two {x}";

    #[test]
    fn the_users_text_is_split() {
        let words = Words::of("  A bakery\n page ");
        assert_eq!((words.heading.as_str(), words.rest), ("A bakery page", None));
        let words = Words::of("A bakery: breads. And hours.");
        assert_eq!((words.heading.as_str(), words.rest.as_deref()), ("A bakery", Some("A bakery: breads. And hours.")));
        let words = Words::of(&"lorem ipsum ".repeat(20));
        assert!(words.heading.chars().count() <= HEADING_MAX + 1 && words.heading.ends_with("lorem…"));
        assert_eq!(words.rest.as_deref(), Some(words.all.as_str()));
        assert_eq!(shortened(&"x".repeat(90), 80).chars().count(), 81);
    }

    #[test]
    fn pages_show_the_text_escaped() {
        let words = Words::of(NASTY);
        let files = new_app(Kind::Site, &words);
        let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths, ["public/index.html", "public/style.css", "public/script.js"]);
        let page = scraper::Html::parse_document(&files[0].1);
        let heading = page.select(&scraper::Selector::parse("h1").unwrap()).next().unwrap();
        assert_eq!(heading.text().collect::<String>(), words.heading);
        let scripts = page.select(&scraper::Selector::parse("script").unwrap()).count();
        assert_eq!(scripts, 1, "only the page's own script");
        assert!(files[2].1.contains(&literal(words.heading.clone())));

        let (old, new) = change(Kind::Site, &files[0].1, &words).expect("a change");
        let changed = files[0].1.replace(&old, &new);
        let page = scraper::Html::parse_document(&changed);
        let section = page.select(&scraper::Selector::parse("#change-1").unwrap()).next().unwrap();
        assert_eq!(section.text().collect::<String>(), words.heading);
        let (old, new) = change(Kind::Site, &changed, &words).expect("another change");
        assert!(changed.replace(&old, &new).contains("change-2"));
        assert_eq!(change(Kind::Site, "<p>written by hand</p>", &words), None);
    }

    #[test]
    fn programs_contain_the_text_as_literals() {
        let words = Words::of(NASTY);
        let literal = literal(words.all.clone());
        assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), words.all);
        for kind in [Kind::Api, Kind::Webhook, Kind::Job] {
            let [(path, content)] = &new_app(kind, &words)[..] else { panic!("one file") };
            assert_eq!(*path, kind.main_file());
            assert!(content.contains(&format!("    {literal},\n")), "{content}");
            let (old, new) = change(kind, content, &Words::of("Second")).expect("a change");
            let changed = content.replace(&old, &new);
            assert!(changed.contains("    \"Second\",\n    # demo"), "{changed}");
            assert!(change(kind, &changed, &words).is_some());
        }
    }

    #[test]
    fn custom_templates_get_a_notes_file() {
        let files = new_app(Kind::Other, &Words::of("One"));
        let (old, new) = change(Kind::Other, &files[0].1, &Words::of("Two")).expect("a change");
        assert_eq!(files[0].1.replace(&old, &new), "# Notes\n\n- One\n- Two\n");
    }

    #[test]
    fn kinds_are_detected_from_files() {
        assert_eq!(Kind::of(&["Dockerfile", "public/index.html"]), Kind::Site);
        assert_eq!(Kind::of(&["main.py", "verify.py"]), Kind::Webhook);
        assert_eq!(Kind::of(&["main.py"]), Kind::Api);
        assert_eq!(Kind::of(&["job.py"]), Kind::Job);
        assert_eq!(Kind::of(&["index.php"]), Kind::Other);
    }

    #[test]
    fn schedules_are_recognised_in_plain_text() {
        for (words, cron) in [
            ("Every 15 minutes, check", Some("*/15 * * * *")),
            ("every minute say hello", Some("* * * * *")),
            ("Hourly report", Some("0 * * * *")),
            ("Every morning at 6, print", Some("0 6 * * *")),
            ("Every day at 5 pm", Some("0 17 * * *")),
            ("Each Monday, print a table", Some("0 7 * * 1")),
            ("every 90 minutes", None),
            ("Print a report", None),
        ] {
            assert_eq!(schedule(words).as_deref(), cron, "{words}");
        }
        assert_eq!(schedule_line("# schedule x\nschedule = \"0 * * * *\"\n"), Some("schedule = \"0 * * * *\""));
    }
}
