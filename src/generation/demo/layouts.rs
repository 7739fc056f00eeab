//! The files that the demo model writes if no recording fits: one of six layouts, filled with the user's words.
//!
//! The templates' filters escape the user's text for the language of the file.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};

use super::colours::Colour;
use super::parts;
use super::wishes::{Part, Scheme, Wish};
use super::words::{stem, tokens};

/// A text in the main file of each layout, by which the demo model recognizes its own apps.
pub const MARK: &str = "demo script of Slipway";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // JavaScript and Python files use literals and no HTML escapes. The callback applies to templates that are added
    // after it.
    templates.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "html")) => minijinja::AutoEscape::Html,
        _ => minijinja::AutoEscape::None,
    });
    templates.add_filter("literal", literal);
    templates
        .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().expect("the usual marks"));
    for (name, source) in [
        ("index.html", include_str!("layouts/index.html")),
        ("style.css", include_str!("layouts/style.css")),
        ("script.js", include_str!("layouts/script.js")),
        ("main.py", include_str!("layouts/main.py")),
        ("page.html", include_str!("layouts/page.html")),
        ("page.css", include_str!("layouts/page.css")),
        ("page.js", include_str!("layouts/page.js")),
        ("webhook.py", include_str!("layouts/webhook.py")),
        ("job.py", include_str!("layouts/job.py")),
    ] {
        templates.add_template(name, source).expect("a test renders each of them");
    }
    templates
});

/// Text as a string literal that is valid in Python and JavaScript: a JSON string.
fn literal(text: String) -> String {
    serde_json::Value::from(text).to_string()
}

/// The kind of app in a workspace, detected from its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `public/index.html`
    Site,
    /// `main.py` alone.
    Api,
    /// `main.py` beside `verify.py`.
    Webhook,
    /// `job.py`
    Job,
    /// None of these: a custom template.
    Other,
}

impl Kind {
    /// Determines the kind from the paths in the workspace.
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

    /// The file that determines the content of the app.
    pub fn main_file(self) -> &'static str {
        match self {
            Self::Site => "public/index.html",
            Self::Api | Self::Webhook => "main.py",
            Self::Job => "job.py",
            Self::Other => "NOTES.md",
        }
    }

    /// The embedded template for apps of this kind.
    pub fn template(self) -> Option<&'static str> {
        match self {
            Self::Site => Some("static-site"),
            Self::Api => Some("simple-api"),
            Self::Webhook => Some("webhook"),
            Self::Job => Some("scheduled-job"),
            Self::Other => None,
        }
    }

    /// A description, with its article.
    pub fn described(self) -> &'static str {
        match self {
            Self::Site => "a static site",
            Self::Api => "an API",
            Self::Webhook => "a webhook",
            Self::Job => "a scheduled job",
            Self::Other => "an app of another template",
        }
    }
}

/// The layout of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Items, and a list to order them.
    Shop,
    /// A countdown to a day, and a list of guests.
    Event,
    /// Pictures that can be enlarged.
    Portfolio,
    /// Numbers that visitors enter, with their sum.
    Dashboard,
    /// Rows that can be searched.
    List,
    /// The calls of an API, and a page to try them.
    Api,
}

impl Layout {
    const SITES: [(Self, &'static str, &'static str); 5] = [
        (
            Self::Shop,
            "shop",
            "shop store cafe restaurant bakery landing product sell menu price service studio offer company business hotel farm market brand",
        ),
        (
            Self::Event,
            "event",
            "event wedding party concert meetup festival invitation conference birthday workshop race tournament ceremony opening launch",
        ),
        (
            Self::Portfolio,
            "portfolio",
            "portfolio gallery photographer photo artist designer cv resume picture illustrator architect painting work exhibition",
        ),
        (
            Self::Dashboard,
            "dashboard",
            "dashboard tracker statistic report kpi sale budget expense metric chart number habit weight log measurement score",
        ),
        (
            Self::List,
            "list",
            "table timetable schedule tide directory catalogue catalog index glossary archive checklist departure register inventory library recipe search",
        ),
    ];

    /// The layout whose keywords occur most often in a description.
    pub fn of(kind: Kind, description: &str) -> Self {
        if kind == Kind::Api {
            return Self::Api;
        }
        let said: Vec<String> = tokens(description).iter().map(|word| stem(word)).collect();
        let score = |words: &str| {
            let words: Vec<String> = words.split(' ').map(stem).collect();
            said.iter().filter(|word| words.contains(word)).count()
        };
        let best =
            Self::SITES.iter().rev().max_by_key(|(_, _, words)| score(words)).filter(|(_, _, words)| score(words) > 0);
        best.map_or(Self::Shop, |(layout, _, _)| *layout)
    }

    fn name(self) -> &'static str {
        Self::SITES.iter().find(|(layout, _, _)| *layout == self).map_or("api", |(_, name, _)| name)
    }

    /// Its description in a sentence.
    pub fn described(self) -> &'static str {
        match self {
            Self::Shop => "a landing page with what there is and a list to ask for it",
            Self::Event => "an event page with a countdown and a programme",
            Self::Portfolio => "a portfolio whose pictures open large",
            Self::Dashboard => "a dashboard with numbers that you enter, their sum and a chart",
            Self::List => "a table that can be searched and added to",
            Self::Api => "an API that keeps entries, with a page to try it",
        }
    }

    fn eyebrow(self) -> &'static str {
        match self {
            Self::Shop => "Welcome",
            Self::Event => "Save the date",
            Self::Portfolio => "Selected work",
            Self::Dashboard => "At a glance",
            Self::List => "Look it up",
            Self::Api => "API",
        }
    }

    /// The items if the description names none.
    fn usual_items(self) -> &'static [&'static str] {
        match self {
            Self::Shop => &["The favourite", "The classic", "Something new"],
            Self::Event => &["Doors open", "Main part", "Food and talk"],
            Self::Portfolio => &["First light", "Long shadow", "Quiet water", "Open door", "North side", "Last train"],
            Self::Dashboard => &["Amount"],
            Self::List | Self::Api => &[],
        }
    }

    fn usual_accent(self) -> &'static str {
        match self {
            Self::Shop => "terracotta",
            Self::Event => "plum",
            Self::Portfolio => "rust",
            Self::Dashboard => "blue",
            Self::List | Self::Api => "teal",
        }
    }
}

/// The columns of a list's table, depending on its subject.
fn columns(wish: &Wish, layout: Layout) -> Vec<String> {
    let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    if wish.columns.len() >= 2 {
        return wish.columns.clone();
    }
    let words = tokens(&wish.words);
    let says = |word: &str| words.iter().any(|said| stem(said) == stem(word));
    match layout {
        Layout::List if says("tide") => named(&["Day", "High water", "Low water"]),
        Layout::List if says("timetable") || says("departure") || says("schedule") => named(&["Time", "What", "Where"]),
        Layout::List if says("recipe") => named(&["Dish", "Time", "Servings"]),
        Layout::List if wish.items.len() >= 2 => wish.items.iter().take(5).cloned().collect(),
        Layout::Dashboard => named(&["What", "Amount"]),
        _ => named(&["Name", "Note"]),
    }
}

fn render(name: &str, wish: &Wish, layout: Layout) -> String {
    let items = if wish.items.is_empty() {
        layout.usual_items().iter().map(|&item| item.to_owned()).collect()
    } else {
        wish.items.clone()
    };
    let accent = wish.colours.accent.or_else(|| Colour::named(layout.usual_accent())).expect("a named colour");
    let (surface, on_surface) = accent.as_surface();
    let asks_dark = wish.scheme.map(|scheme| scheme == Scheme::Dark);
    let background = wish.colours.background.map(|colour| colour.as_background(asks_dark));
    let scheme = match background.as_ref().map(|back| back.is_dark).or(asks_dark) {
        Some(true) => "dark",
        Some(false) => "light",
        None => "light dark",
    };
    // The table of a list and the numbers of a dashboard are already part of the layout.
    let own = match layout {
        Layout::List => Some(Part::Table),
        _ => None,
    };
    let sections: Vec<String> = wish
        .parts
        .iter()
        .filter(|part| Some(**part) != own && **part != Part::List)
        .map(|part| parts::section(*part, parts::usual(*part).0, &part_columns(wish, *part)))
        .collect();
    let facts = context! {
        title => &wish.title,
        words => &wish.words,
        eyebrow => layout.eyebrow(),
        layout => layout.name(),
        items => items,
        are_placeholders => wish.items.is_empty(),
        columns => columns(wish, layout),
        sections => sections,
        scheme => scheme,
        accent => surface,
        on_accent => on_surface,
        accent_text => accent.as_text(),
        heading => wish.colours.heading.map(Colour::as_text),
        background => background.as_ref().map(|back| back.paper.as_str()),
        ink => background.as_ref().map(|back| back.ink.as_str()),
    };
    let template = TEMPLATES.get_template(name);
    let text = template.and_then(|template| template.render(facts)).expect("a test renders each of them");
    // The template engine drops the line break at the end of a file.
    text.trim_end().to_owned() + "\n"
}

fn part_columns(wish: &Wish, part: Part) -> Vec<String> {
    if part == Part::Table && !wish.columns.is_empty() {
        return wish.columns.clone();
    }
    parts::usual(part).1.iter().map(|&name| name.to_owned()).collect()
}

/// A new app's files, in the order in which they are written.
pub fn new_app(kind: Kind, layout: Layout, wish: &Wish) -> Vec<(&'static str, String)> {
    let main = kind.main_file();
    let file = |name: &str| render(name, wish, layout);
    match kind {
        Kind::Site => {
            let page = file("index.html");
            let mut files = Vec::new();
            // The table of a list is one of the parts. The parts' files are written first, because the draft shows the
            // page as soon as it is written.
            if page.contains("parts.js") {
                files.push(("public/parts.css", parts::STYLE.to_owned()));
                files.push(("public/parts.js", parts::SCRIPT.to_owned()));
            }
            files.push((main, page));
            files.push(("public/style.css", file("style.css")));
            files.push(("public/script.js", file("script.js")));
            files
        }
        Kind::Api => vec![
            (main, file("main.py")),
            ("page.html", file("page.html")),
            ("page.css", file("page.css")),
            ("page.js", file("page.js")),
        ],
        Kind::Webhook => vec![(main, file("webhook.py"))],
        Kind::Job => vec![(main, file("job.py"))],
        Kind::Other => vec![(main, format!("# Notes\n\n- {}\n", wish.words))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "A \"page\" of <script>alert('x')</script> & {{ jinja }} \\n \u{0}'''\"\"\" %s 日本 🎉\nwith </style>, ${y} and {x}";

    #[test]
    fn the_nearest_layout_is_taken() {
        for (description, layout) in [
            ("A coffee shop in Lisbon", Layout::Shop),
            ("Whales", Layout::Shop),
            ("An invitation to our wedding", Layout::Event),
            ("Portfolio of an architect", Layout::Portfolio),
            ("A tracker for my expenses", Layout::Dashboard),
            ("A tide table for Cuxhaven", Layout::List),
            ("A timetable of ferries", Layout::List),
        ] {
            assert_eq!(Layout::of(Kind::Site, description), layout, "{description}");
        }
        assert_eq!(Layout::of(Kind::Api, "A coffee shop"), Layout::Api);
    }

    #[test]
    fn every_layout_shows_the_words_escaped() {
        for (description, layout) in [
            ("shop", Layout::Shop),
            ("wedding", Layout::Event),
            ("portfolio", Layout::Portfolio),
            ("dashboard", Layout::Dashboard),
            ("table", Layout::List),
        ] {
            let wish = Wish::of(&format!("{NASTY} {description}, a contact form and a counter"));
            let files = new_app(Kind::Site, layout, &wish);
            assert!(text_of(&files, "public/index.html").contains(MARK), "{layout:?}");
            let page = scraper::Html::parse_document(text_of(&files, "public/index.html"));
            let count = |selector: &str| page.select(&scraper::Selector::parse(selector).unwrap()).count();
            let heading = page.select(&scraper::Selector::parse("h1").unwrap()).next().expect("a heading");
            assert_eq!(heading.text().collect::<String>().trim(), wish.title, "{layout:?}");
            assert_eq!(count("script"), 2, "{layout:?}: only the page's own");
            assert_eq!((count("h1"), count("main"), count("title")), (1, 1, 1), "{layout:?}");
            assert_eq!((count("#part-form"), count("#part-counter")), (1, 1), "{layout:?}");
            assert!(
                !text_of(&files, "public/style.css").contains("script>"),
                "{layout:?}: no words in the style sheet"
            );
        }
    }

    fn text_of<'a>(files: &'a [(&'static str, String)], path: &str) -> &'a str {
        files.iter().find(|(of, _)| *of == path).map(|(_, text)| text.as_str()).expect("the file is written")
    }

    #[test]
    fn colours_and_dark_reach_the_style_sheet() {
        let wish = Wish::of("A shop for rope with a red heading, in green, with a dark theme");
        let files = new_app(Kind::Site, Layout::Shop, &wish);
        let style = text_of(&files, "public/style.css");
        assert!(style.contains("color-scheme: dark;") && style.contains("#d92d20"), "{style}");
        assert!(style.contains(&Colour::named("green").unwrap().as_surface().0), "{style}");
    }

    #[test]
    fn a_tide_table_is_a_table() {
        let wish = Wish::of("A tide table for the harbour of Cuxhaven with a dark theme and a search field");
        let files = new_app(Kind::Site, Layout::List, &wish);
        let page = text_of(&files, "public/index.html");
        assert!(page.contains("<h1>Tide table for the harbour of Cuxhaven</h1>"), "{page}");
        assert!(page.contains("High water") && page.contains("type=\"search\""), "{page}");
    }

    #[test]
    fn programs_hold_the_words_as_literals() {
        let wish = Wish::of(NASTY);
        for kind in [Kind::Api, Kind::Webhook, Kind::Job] {
            let files = new_app(kind, Layout::Api, &wish);
            assert_eq!(files[0].0, kind.main_file());
            assert!(files[0].1.contains(MARK));
            assert!(files[0].1.contains(&literal(wish.title.clone())), "{}", files[0].1);
        }
        assert_eq!(new_app(Kind::Other, Layout::Shop, &Wish::of("One"))[0].1, "# Notes\n\n- One\n");
    }

    #[test]
    fn kinds_are_told_by_files() {
        assert_eq!(Kind::of(&["Dockerfile", "public/index.html"]), Kind::Site);
        assert_eq!(Kind::of(&["main.py", "verify.py"]), Kind::Webhook);
        assert_eq!(Kind::of(&["main.py"]), Kind::Api);
        assert_eq!(Kind::of(&["job.py"]), Kind::Job);
        assert_eq!(Kind::of(&["index.php"]), Kind::Other);
    }
}
