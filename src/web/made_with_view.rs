//! *Made with Slipway* as it is shown: pictures of recorded apps, and one recorded conversation. Pure.

use askama::Template;

use super::app::turn_view::{BlockView, FileHead, StepLine};
use super::chrome::Chrome;
use super::{markdown, ui};
use crate::bounded_work::Budget;
use crate::domain::FileState;
use crate::services::recordings::{FollowUp, RecordedFile, Recording};

/// The apps that have a picture, in the order of the pictures in `static/img/made-with.webp`: three in a row, two rows.
const PICTURED: [(&str, &str); 6] = [
    ("bakery", "A bakery’s page with a drawn loaf, its name in large letters and whether it is open"),
    ("booking", "A barber’s booking page with days, free times and a form"),
    ("dashboard", "An energy dashboard with tiles, a chart by day and a table"),
    ("shortener", "A link shortener with a large field and a list of links with their visits"),
    ("game", "A number puzzle with coloured tiles on a board"),
    ("feedback", "A feedback page with five faces, the average and the latest answers"),
];
/// The class of each picture's place.
const PLACES: [&str; 6] = ["p1", "p2", "p3", "p4", "p5", "p6"];

/// A recorded app on the first page.
pub struct MadeTile {
    /// Its name in addresses.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// One sentence about it.
    pub note: &'static str,
    /// Where its picture stands among the others.
    pub place: &'static str,
    /// What its picture shows.
    pub alt: &'static str,
}

/// The tiles of the recordings that have a picture.
pub fn tiles(recordings: &'static [Recording]) -> Vec<MadeTile> {
    let tile = |((name, alt), place): ((&'static str, &'static str), &'static str)| {
        let recording = recordings.iter().find(|recording| recording.name == name)?;
        Some(MadeTile { name: &recording.name, title: &recording.title, note: &recording.note, place, alt })
    };
    PICTURED.into_iter().zip(PLACES).filter_map(tile).collect()
}

/// One recorded conversation.
#[derive(Template)]
#[template(path = "made_with.html")]
pub struct MadePage {
    chrome: Chrome,
    recording: &'static Recording,
    /// What people call its template.
    template: String,
    turns: Vec<RecordedTurn>,
    /// Where its picture stands and what it shows, where there is one.
    picture: Option<(&'static str, &'static str)>,
    /// The page itself can be tried here.
    has_frame: bool,
}

/// A message and what was done.
struct RecordedTurn {
    prompt: &'static str,
    /// Rendered words and steps.
    blocks: Vec<String>,
}

impl MadePage {
    /// `template` is the template's title. What is rendered is embedded and bounded, so it needs no budget.
    pub fn new(chrome: Chrome, recording: &'static Recording, template: String) -> Self {
        let picture = PICTURED.into_iter().zip(PLACES).find(|((name, _), _)| *name == recording.name);
        Self {
            chrome,
            recording,
            template,
            turns: turns(recording),
            picture: picture.map(|((_, alt), place)| (place, alt)),
            has_frame: frame(recording).is_some(),
        }
    }
}

fn turns(recording: &'static Recording) -> Vec<RecordedTurn> {
    let mut blocks = vec![words(&recording.before)];
    blocks.extend(recording.files.iter().map(written));
    blocks.push(words(&recording.after));
    let first = RecordedTurn { prompt: &recording.description, blocks };
    let follow_up = |follow_up: &'static FollowUp| {
        let mut blocks = vec![words(&follow_up.before)];
        blocks.extend(follow_up.files.iter().map(written));
        blocks.extend(follow_up.edits.iter().map(|edit| {
            let (old, new) = (edit.old.lines().count(), edit.new.lines().count());
            // What an edit repeats of the place around it is neither added nor removed.
            let kept = edit.old.lines().filter(|line| edit.new.lines().any(|other| other == *line)).count();
            let summary = format!("Edited {} +{} −{}", edit.path, new.saturating_sub(kept), old - kept);
            shown(&StepLine::tool(None, &summary, true))
        }));
        blocks.push(words(&follow_up.after));
        RecordedTurn { prompt: &follow_up.prompt, blocks }
    };
    std::iter::once(first).chain(recording.follow_ups.iter().map(follow_up)).collect()
}

fn words(text: &str) -> String {
    shown(&BlockView::Answer { id: None, html: markdown::render(text.trim(), &Budget::unlimited()).html })
}

fn written(file: &RecordedFile) -> String {
    let head = FileHead::new(None, file.path.as_str(), FileState::Written, Some(file.text.lines().count()));
    shown(&StepLine::file(head, Some(&file.text)))
}

fn shown(template: &impl Template) -> String {
    template.render().expect("a test renders all of them")
}

/// A recorded static site as one document, with its style sheets and scripts within it: it is shown in a frame that may
/// load nothing. None for an app that needs a server.
pub fn frame(recording: &Recording) -> Option<String> {
    let file =
        |path: &str| recording.files.iter().find(|file| file.path.as_str() == path).map(|file| file.text.as_str());
    let mut page = String::new();
    for line in file("public/index.html")?.lines() {
        let named = |begin: &str| {
            let (_, rest) = line.split_once(begin)?;
            file(&format!("public/{}", rest.split_once('"')?.0))
        };
        if let Some(style) = named("<link rel=\"stylesheet\" href=\"") {
            page.extend(["<style>", style, "</style>\n"]);
        } else if let Some(script) = named("<script src=\"") {
            // They stand at the end of the page, where those that wait for it would run.
            page.extend(["<script>", script, "</script>\n"]);
        } else if !line.contains("<link rel=\"icon\"") {
            page.extend([line, "\n"]);
        }
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::demo::recordings;
    use crate::web::{chrome, samples};

    #[test]
    fn each_picture_belongs_to_a_recording() {
        let tiles = tiles(recordings::all());
        assert_eq!(tiles.len(), PICTURED.len());
    }

    #[test]
    fn a_recorded_conversation_is_shown_whole_and_cannot_be_answered() {
        for recording in recordings::all() {
            let page = MadePage::new(chrome::sample(), recording, "Static site".into());
            let page = samples::select(&page.render().expect("renders"));
            let said: Vec<&str> = recording.follow_ups.iter().map(|follow_up| follow_up.prompt.as_str()).collect();
            assert_eq!(page.texts(".user-message")[1..], said, "{}", recording.name);
            let files = recording.files.len() + recording.follow_ups.iter().map(|f| f.files.len()).sum::<usize>();
            assert_eq!(page.count("details[data-path]"), files, "{}", recording.name);
            assert_eq!((page.count("textarea"), page.count("#composer")), (0, 0), "it is to be read");
            assert_eq!(page.attribute("form [name=description]", "value"), recording.description);
            assert_eq!(page.attribute("form [name=template]", "value"), recording.template.as_str());
            let is_site = recording.template.as_str() == "static-site";
            assert_eq!(page.count("iframe[sandbox=allow-scripts]"), usize::from(is_site), "{}", recording.name);
        }
    }

    #[test]
    fn a_framed_page_loads_nothing() {
        for recording in recordings::all() {
            let Some(html) = frame(recording) else { continue };
            let page = scraper::Html::parse_document(&html);
            let count = |selector: &str| page.select(&scraper::Selector::parse(selector).expect("a selector")).count();
            assert_eq!(count("link, script[src], img[src]"), 0, "{}", recording.name);
            let is_script = |path: &str| std::path::Path::new(path).extension().is_some_and(|kind| kind == "js");
            let scripts = recording.files.iter().filter(|file| is_script(file.path.as_str())).count();
            assert_eq!((count("script"), count("style")), (scripts, 1), "{}", recording.name);
        }
    }
}
