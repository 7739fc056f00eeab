//! A running turn on open pages: its changes become operations on the pages' elements.
//!
//! An operation has the id of an element and an action; the page's script knows nothing about blocks. The templates of
//! a page load render the elements, so a page plus the operations after it equals a page that is loaded later.
//! Pure: the caller renders Markdown on a thread for CPU-bound work.

use askama::Template;
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::turn_view::{
    Block, BlockView, FileHead, ShownBlocks, StepLine, answer, lines_in_words, shown_content, whole_text,
};
use crate::bounded_work::Budget;
use crate::domain::{AppName, EventBody, FileState, JobId, NumberedBlock, TextKind, TurnBlock, TurnFold, TurnId};
use crate::web::format::Html;
use crate::web::highlight::escape_into;
use crate::web::markdown::{self, ClosedParts, RENDERED_MAX};

/// An operation on one element of a page. As JSON: its name, the element's id, its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    name: &'static str,
    arguments: Vec<String>,
}

impl Operation {
    fn new<const N: usize>(name: &'static str, arguments: [String; N]) -> Self {
        Self { name, arguments: arguments.into() }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(1 + self.arguments.len()))?;
        sequence.serialize_element(self.name)?;
        for argument in &self.arguments {
            sequence.serialize_element(argument)?;
        }
        sequence.end()
    }
}

/// A running turn: its state, and how much of it the pages show.
#[derive(Debug, Clone)]
pub struct LiveTurn {
    job: JobId,
    names: Names,
    fold: TurnFold,
    shown: Vec<Shown>,
    doing: String,
    /// Sentences for screen readers that were not sent yet.
    says: Vec<String>,
    /// A file of the workspace has changed, and the pages were not notified yet.
    has_changed_files: bool,
}

/// The ids of a turn's elements, and the address of its text.
#[derive(Debug, Clone)]
struct Names {
    turn: TurnId,
    whole_text: String,
}

impl Names {
    fn new(app: &AppName, turn: TurnId) -> Self {
        Self { turn, whole_text: whole_text(app, turn) }
    }

    fn block(&self, number: u32) -> String {
        format!("turn-{}-b{number}", self.turn)
    }
}

/// A block that pages show.
#[derive(Debug, Clone)]
struct Shown {
    number: u32,
    revision: u32,
    view: View,
}

/// How much of a block is shown.
#[derive(Debug, Clone)]
enum View {
    /// Complete text, or a tool: it does not grow.
    Whole,
    Growing {
        parts: ClosedParts,
        length: usize,
        /// Bytes of the parts that were rendered.
        rendered: usize,
    },
    Thought {
        length: usize,
    },
    File {
        state: FileState,
        /// Bytes of its content that were counted, and bytes that are shown.
        counted: usize,
        length: usize,
        /// It has an element for its text.
        has_text: bool,
        /// Line ends so far.
        line_ends: usize,
        lines: Option<usize>,
    },
}

/// The markup of a block before its Markdown is rendered.
#[derive(Debug, Clone)]
enum Markup {
    Answer(String),
    Growing { parts: Vec<Part>, tail: String },
    Thought(String),
    Step(Box<StepLine>),
}

/// A closed part of the model's text.
#[derive(Debug, Clone)]
struct Part {
    text: String,
    /// It is beyond the limit of rendered text.
    as_it_is: bool,
}

impl Part {
    fn html(&self, budget: &Budget) -> String {
        if self.as_it_is { markdown::plain(&self.text).0 } else { markdown::render(&self.text, budget).html.0 }
    }
}

impl Markup {
    fn is_markdown(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Growing { .. })
    }

    fn html(&self, id: &str, whole: &str, budget: &Budget) -> String {
        let html = match self {
            Self::Answer(text) => BlockView::Answer { id: Some(id), html: answer(text, whole, budget) }.render(),
            Self::Growing { parts, tail } => {
                let html = Html(parts.iter().map(|part| part.html(budget)).collect());
                BlockView::Growing { id, html, tail }.render()
            }
            Self::Thought(words) => BlockView::Thought { id, words }.render(),
            Self::Step(step) => step.render(),
        };
        html.unwrap_or_default()
    }
}

/// A change of the pages.
#[derive(Debug, Clone)]
enum Change {
    /// A block, at the end or before another.
    Add { id: String, markup: Markup, before: Option<String> },
    /// A block that replaces its previous element.
    Replace { id: String, markup: Markup },
    /// Parts of an answer were closed, and the text that follows them.
    Close { id: String, parts: Vec<Part>, tail: String },
    /// An operation that needs no rendering.
    Ready(Operation),
}

/// Changes whose Markdown is not rendered yet. If there is any, render it on a thread for CPU-bound work.
#[derive(Debug, Clone)]
pub struct Changes {
    blocks: Vec<Change>,
    /// Operations on elements other than blocks.
    rest: Vec<Operation>,
    names: Names,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.rest.is_empty()
    }

    /// Whether rendering them is CPU-bound work.
    pub fn have_markdown(&self) -> bool {
        self.blocks.iter().any(|change| match change {
            Change::Add { markup, .. } | Change::Replace { markup, .. } => markup.is_markdown(),
            Change::Close { parts, .. } => !parts.is_empty(),
            Change::Ready(_) => false,
        })
    }

    /// The operations, in order. Text that cannot be rendered within the budget is shown unrendered.
    pub fn into_operations(self, budget: &Budget) -> Vec<Operation> {
        let whole = &self.names.whole_text;
        let mut operations = Vec::with_capacity(self.blocks.len() + self.rest.len());
        for change in self.blocks {
            match change {
                Change::Add { id, markup, before: None } => {
                    let html = markup.html(&id, whole, budget);
                    operations.push(Operation::new("append", [format!("turn-{}-blocks", self.names.turn), html]));
                }
                Change::Add { id, markup, before: Some(next) } => {
                    operations.push(Operation::new("before", [next, markup.html(&id, whole, budget)]));
                }
                Change::Replace { id, markup } => {
                    let html = markup.html(&id, whole, budget);
                    operations.push(Operation::new("replace", [id, html]));
                }
                Change::Close { id, parts, tail } => {
                    let place = format!("{id}-text");
                    if !parts.is_empty() {
                        let html = parts.iter().map(|part| part.html(budget)).collect();
                        operations.push(Operation::new("before", [place.clone(), html]));
                    }
                    operations.push(Operation::new("words", [place, tail]));
                }
                Change::Ready(operation) => operations.push(operation),
            }
        }
        operations.extend(self.rest);
        operations
    }
}

impl LiveTurn {
    /// A turn that pages show up to the state of `fold`.
    pub fn new(app: &AppName, turn: TurnId, job: JobId, fold: TurnFold) -> Self {
        let mut live = Self {
            job,
            names: Names::new(app, turn),
            doing: doing(&fold),
            fold,
            shown: Vec::new(),
            says: Vec::new(),
            has_changed_files: false,
        };
        live.changes();
        live
    }

    /// The job that runs it.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Its state.
    pub fn fold(&self) -> &TurnFold {
        &self.fold
    }

    /// Applies its next event. The next [`Self::changes`] returns the resulting operations.
    pub fn apply(&mut self, event: &EventBody) {
        self.fold.apply(event);
        match event {
            EventBody::File { path, state: state @ (FileState::Written | FileState::Deleted), .. } => {
                let verb = if *state == FileState::Written { "Wrote" } else { "Deleted" };
                self.says.push(format!("{verb} {path}"));
                self.has_changed_files = true;
            }
            EventBody::Tool { summary, .. } => {
                let mut shown = ShownBlocks::default();
                let blocks = self.fold.blocks().iter();
                if blocks.map(|numbered| shown.shows(&numbered.block)).last().unwrap_or(false) {
                    self.says.push(summary.clone());
                }
            }
            _ => {}
        }
    }

    /// The changes since the last call.
    pub fn changes(&mut self) -> Changes {
        let mut filter = ShownBlocks::default();
        let blocks: Vec<&NumberedBlock> =
            self.fold.blocks().iter().filter(|numbered| filter.shows(&numbered.block)).collect();
        let mut changes = Vec::new();
        let mut old = std::mem::take(&mut self.shown).into_iter().peekable();
        let mut shown = Vec::with_capacity(blocks.len());
        for (at, numbered) in blocks.iter().enumerate() {
            let id = || self.names.block(numbered.number);
            let is_last = at + 1 == blocks.len();
            while let Some(gone) = old.next_if(|old| old.number < numbered.number) {
                changes.push(Change::Ready(Operation::new("remove", [self.names.block(gone.number)])));
            }
            let before = old.next_if(|old| old.number == numbered.number);
            let view = match before {
                Some(mut before)
                    if before.revision == numbered.revision && before.view.only_grows(&numbered.block, is_last) =>
                {
                    before.view.grow(&id, &numbered.block, &mut changes);
                    before.view
                }
                Some(_) => {
                    let id = id();
                    let (view, markup) = begin(&id, &numbered.block, is_last);
                    changes.push(Change::Replace { id, markup });
                    view
                }
                None => {
                    let id = id();
                    let (view, markup) = begin(&id, &numbered.block, is_last);
                    // The next later block on the page, if this one was hidden because of a file that was removed.
                    let mut later = old.clone();
                    let next = later.find(|old| blocks[at..].iter().any(|stays| stays.number == old.number));
                    let before = next.map(|next| self.names.block(next.number));
                    changes.push(Change::Add { id, markup, before });
                    view
                }
            };
            shown.push(Shown { number: numbered.number, revision: numbered.revision, view });
        }
        for gone in old {
            changes.push(Change::Ready(Operation::new("remove", [self.names.block(gone.number)])));
        }
        self.shown = shown;
        Changes { blocks: changes, rest: self.rest(), names: self.names.clone() }
    }

    fn rest(&mut self) -> Vec<Operation> {
        let mut rest = Vec::new();
        let doing = doing(&self.fold);
        if doing != self.doing {
            self.doing.clone_from(&doing);
            rest.push(Operation::new("doing", [format!("turn-{}-doing", self.names.turn), doing]));
        }
        rest.extend(self.says.drain(..).map(|sentence| Operation::new("announce", [sentence])));
        if std::mem::take(&mut self.has_changed_files) {
            rest.push(Operation::new("draft", []));
        }
        rest
    }
}

/// The operation for files of the workspace that changed outside of the running turn.
pub fn files_changed() -> Operation {
    Operation::new("draft", [])
}

/// The blocks of a running turn as a page load renders them.
pub fn rendered(app: &AppName, turn: TurnId, fold: &TurnFold, budget: &Budget) -> Vec<String> {
    let names = Names::new(app, turn);
    let mut filter = ShownBlocks::default();
    let blocks: Vec<&NumberedBlock> = fold.blocks().iter().filter(|numbered| filter.shows(&numbered.block)).collect();
    let html = |(at, numbered): (usize, &&NumberedBlock)| {
        let id = names.block(numbered.number);
        begin(&id, &numbered.block, at + 1 == blocks.len()).1.html(&id, &names.whole_text, budget)
    };
    blocks.iter().enumerate().map(html).collect()
}

/// The model's current activity in a few words.
pub fn doing(fold: &TurnFold) -> String {
    match fold.blocks().last().map(|numbered| &numbered.block) {
        None | Some(TurnBlock::Thought(_)) => "Thinking".to_owned(),
        Some(TurnBlock::Answer(_)) => "Answering".to_owned(),
        Some(TurnBlock::File { path, state: FileState::Writing, .. }) => format!("Writing {path}"),
        Some(TurnBlock::File { .. } | TurnBlock::Tool { .. }) => "Working".to_owned(),
    }
}

/// A block that is shown for the first time or again.
fn begin(id: &str, block: &TurnBlock, is_last: bool) -> (View, Markup) {
    match Block::from(block) {
        Block::Text(TextKind::Answer, text) if is_last => {
            let (mut closed, mut rendered) = (ClosedParts::default(), 0);
            let parts = parts(closed.next(text), &mut rendered);
            let tail = without_returns(closed.tail(text));
            (View::Growing { parts: closed, length: text.len(), rendered }, Markup::Growing { parts, tail })
        }
        Block::Text(TextKind::Answer, text) => (View::Whole, Markup::Answer(text.to_owned())),
        Block::Text(TextKind::Thought, text) => {
            (View::Thought { length: text.len() }, Markup::Thought(without_returns(text)))
        }
        Block::File { path, state, lines, content } => {
            let text = content.unwrap_or_default();
            let shown = without_returns(shown_content(text));
            let view = View::File {
                state,
                counted: text.len(),
                length: shown_content(text).len(),
                has_text: !shown.is_empty(),
                line_ends: text.matches('\n').count(),
                lines,
            };
            let head = FileHead::new(Some(id.to_owned()), path, state, lines);
            (view, Markup::Step(Box::new(StepLine::file(head, Some(&shown)))))
        }
        Block::Retry(summary) => (View::Whole, Markup::Step(Box::new(StepLine::retry(Some(id.to_owned()), summary)))),
        Block::Tool { summary, ok } => {
            (View::Whole, Markup::Step(Box::new(StepLine::tool(Some(id.to_owned()), summary, ok))))
        }
    }
}

/// The text without carriage returns: HTML parsers turn them into line ends, text operations do not.
fn without_returns(text: &str) -> String {
    text.replace('\r', "")
}

/// The part of a text that is rendered; the rest is shown unrendered.
fn parts(closed: Vec<&str>, rendered: &mut usize) -> Vec<Part> {
    let part = |text: &str| {
        *rendered += text.len();
        Part { text: text.to_owned(), as_it_is: *rendered > RENDERED_MAX }
    };
    closed.into_iter().map(part).collect()
}

impl View {
    /// Whether the shown element only grows. Text that another block follows is rendered again as a whole.
    fn only_grows(&self, block: &TurnBlock, is_last: bool) -> bool {
        match (self, block) {
            (Self::Growing { .. }, _) => is_last,
            (Self::Whole, TurnBlock::Answer(_)) => !is_last,
            _ => true,
        }
    }

    /// Shows the text that was added to the block.
    fn grow(&mut self, id: &dyn Fn() -> String, block: &TurnBlock, changes: &mut Vec<Change>) {
        let mut operation = |name, arguments: Vec<String>| changes.push(Change::Ready(Operation { name, arguments }));
        match (self, block) {
            (Self::Growing { parts: closed, length, rendered }, TurnBlock::Answer(text)) => {
                let added = std::mem::replace(length, text.len())..text.len();
                let closed_before = closed.end();
                let parts = parts(closed.next(text), rendered);
                if closed.end() > closed_before {
                    changes.push(Change::Close { id: id(), parts, tail: without_returns(closed.tail(text)) });
                } else if !added.is_empty() {
                    operation("text", vec![format!("{}-text", id()), without_returns(&text[added])]);
                }
            }
            (Self::Thought { length }, TurnBlock::Thought(text)) => {
                let added = std::mem::replace(length, text.len())..text.len();
                if !added.is_empty() {
                    operation("text", vec![format!("{}-text", id()), without_returns(&text[added])]);
                }
            }
            (
                Self::File { state, counted, length, has_text, line_ends, lines },
                TurnBlock::File { path, state: now, content: Some(content) },
            ) => {
                let shown = shown_content(content);
                let added = without_returns(&shown[*length..]);
                if added.is_empty() {
                    // The change is not visible.
                } else if std::mem::replace(has_text, true) {
                    operation("text", vec![format!("{}-text", id()), added]);
                } else {
                    let mut text = String::new();
                    escape_into(&added, &mut text);
                    let pre = format!(r#"<pre tabindex="0" id="{}-text">{text}</pre>"#, id());
                    operation("append", vec![id(), pre]);
                }
                *line_ends += content[*counted..].matches('\n').count();
                let open_line = usize::from(!content.ends_with('\n'));
                let lines_now = Some((*line_ends + open_line).max(1));
                (*length, *counted) = (shown.len(), content.len());
                let (lines_before, state_before) = (*lines, *state);
                (*lines, *state) = (lines_now, *now);
                if state_before != *now {
                    file_ended(&id(), path.as_str(), *now, lines_now, &mut operation);
                } else if let Some(count) = lines_now.filter(|_| lines_now != lines_before) {
                    operation("words", vec![format!("{}-lines", id()), lines_in_words(count)]);
                }
            }
            (Self::File { state, .. }, TurnBlock::File { path, state: now, content: None }) => {
                let before = std::mem::replace(state, *now);
                if before != *now {
                    file_ended(&id(), path.as_str(), *now, None, &mut operation);
                }
            }
            _ => {}
        }
    }
}

/// A file was completely written, or deleted.
fn file_ended(
    id: &str,
    path: &str,
    state: FileState,
    lines: Option<usize>,
    operation: &mut impl FnMut(&'static str, Vec<String>),
) {
    let head = FileHead::new(Some(id.to_owned()), path, state, lines);
    operation("replace", vec![format!("{id}-head"), head.render().unwrap_or_default()]);
    operation("set", vec![id.to_owned(), "class".to_owned(), format!("step {}", head.class)]);
    operation("unset", vec![id.to_owned(), "open".to_owned()]);
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng};

    use super::*;
    use crate::domain::{NOTICE, TakenBack};
    use crate::web::live_page::LivePage;

    const TURN: TurnId = TurnId(7);
    const JOB: JobId = JobId(9);

    fn name() -> AppName {
        "tides".parse().expect("a name")
    }

    fn text(delta: &str) -> EventBody {
        EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer }
    }

    fn file(path: &str, state: FileState, delta: Option<&str>) -> EventBody {
        EventBody::File { path: path.parse().expect("a path"), state, delta: delta.map(str::to_owned) }
    }

    /// The page after a page load.
    fn page(fold: &TurnFold) -> LivePage {
        let blocks = rendered(&name(), TURN, fold, &Budget::unlimited()).concat();
        let doing = doing(fold);
        LivePage::new(&format!(r#"<div id="turn-7-blocks">{blocks}</div><span id="turn-7-doing">{doing}</span>"#))
    }

    fn operations(live: &mut LiveTurn) -> serde_json::Value {
        let operations = live.changes().into_operations(&Budget::unlimited());
        serde_json::to_value(operations).expect("JSON")
    }

    const WORDS: &[&str] = &[
        "a ",
        "**bold** ",
        "zwölf",
        "<i> & ",
        "\n",
        "\n\n",
        "\n\n",
        " \n",
        "- item",
        "1. one\n\n2. two\n\n",
        "```\n",
        "~~~\n",
        "# Head\n\n",
        "> quoted",
        "|a|b|\n|-|-|\n",
        "[x]: https://a.test\n\n",
        "\r\n\r\n",
        "\r",
        "🎉",
    ];

    fn any_event(random: &mut StdRng) -> EventBody {
        let words = |random: &mut StdRng| -> String {
            (0..random.random_range(0..4)).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect()
        };
        let path = ["a.txt", "public/b.html"][random.random_range(0..2)];
        match random.random_range(0..16) {
            0..6 => text(&words(random)),
            6..8 => EventBody::Text { delta: words(random), kind: TextKind::Thought },
            8..11 => {
                let delta = (random.random_range(0..4) > 0).then(|| words(random));
                file(path, FileState::Writing, delta.as_deref())
            }
            11 => file(path, FileState::Written, None),
            12 => file(path, FileState::Deleted, Some(&words(random))),
            13 => {
                let name = ["write_file", "search", "delete_file"][random.random_range(0..3)];
                EventBody::tool(name, words(random), random.random_range(0..4) > 0)
            }
            14 => EventBody::tool(NOTICE, "The conversation is long.", false),
            _ => EventBody::Tool {
                name: NOTICE.into(),
                summary: "Asking again.".into(),
                ok: false,
                taken_back: Some(TakenBack { answer: random.random_range(0..40), thought: random.random_range(0..10) }),
            },
        }
    }

    /// A page from any moment plus the later operations, in batches of any size, equals the final page.
    #[test]
    fn a_page_plus_later_operations_equals_a_page_loaded_later() {
        let mut random = StdRng::seed_from_u64(14);
        for round in 0..60 {
            let events: Vec<EventBody> = (0..random.random_range(1..60)).map(|_| any_event(&mut random)).collect();
            let began = random.random_range(0..events.len());
            let fold = TurnFold::of(&events[..began]);
            let mut open = page(&fold);
            let mut live = LiveTurn::new(&name(), TURN, JOB, fold);
            let mut fold = live.fold().clone();
            for event in &events[began..] {
                live.apply(event);
                fold.apply(event);
                if random.random_range(0..3) > 0 {
                    open.operate(&operations(&mut live));
                    assert_eq!(open, page(&fold), "round {round} from {began}: {events:#?}");
                }
            }
            open.operate(&operations(&mut live));
            assert_eq!(open, page(&fold), "round {round} from {began}: {events:#?}");
            assert!(live.changes().is_empty(), "all changes were returned");
        }
    }

    #[test]
    fn text_is_sent_as_it_arrives_and_rendered_when_a_part_is_closed() {
        let mut live = LiveTurn::new(&name(), TURN, JOB, TurnFold::default());
        let mut tell = |events: &[EventBody]| {
            for event in events {
                live.apply(event);
            }
            let changes = live.changes();
            (
                changes.have_markdown(),
                serde_json::to_value(changes.into_operations(&Budget::unlimited())).expect("JSON"),
            )
        };
        tell(&[text("I *will*")]);
        let (is_work, operations) = tell(&[text(" do"), text(" it.\n")]);
        assert_eq!(operations, serde_json::json!([["text", "turn-7-b0-text", " do it.\n"]]));
        assert!(!is_work, "a piece of text needs no rendering");
        let (is_work, operations) = tell(&[text("\nNow")]);
        let closed = serde_json::json!([
            ["before", "turn-7-b0-text", "<p>I <em>will</em> do it.</p>\n"],
            ["words", "turn-7-b0-text", "Now"],
        ]);
        assert_eq!((is_work, operations), (true, closed));
    }

    #[test]
    fn a_written_file_is_streamed_and_then_announced_once() {
        let mut live = LiveTurn::new(&name(), TURN, JOB, TurnFold::default());
        let mut tell = |event: EventBody| {
            live.apply(&event);
            operations(&mut live)
        };
        let writing = tell(file("a.txt", FileState::Writing, None));
        assert_eq!(writing[1], serde_json::json!(["doing", "turn-7-doing", "Writing a.txt"]));
        tell(file("a.txt", FileState::Writing, Some("<b>\n")));
        let more = tell(file("a.txt", FileState::Writing, Some("c\nd")));
        let expected = serde_json::json!([["text", "turn-7-b0-text", "c\nd"], ["words", "turn-7-b0-lines", "3 lines"]]);
        assert_eq!(more, expected);
        let written = tell(file("a.txt", FileState::Written, None));
        let names: Vec<&str> = written.as_array().expect("a list").iter().filter_map(|one| one[0].as_str()).collect();
        assert_eq!(names, ["replace", "set", "unset", "doing", "announce", "draft"]);
        assert_eq!(written[4][1], "Wrote a.txt");
        // The file's own line shows this.
        assert_eq!(tell(EventBody::tool("write_file", "Wrote a.txt", true)), serde_json::json!([]));
    }

    #[test]
    fn shown_file_content_and_rendered_text_are_bounded() {
        let mut live = LiveTurn::new(&name(), TURN, JOB, TurnFold::default());
        let (mut bytes, mut plain) = (0, 0);
        for _ in 0..200 {
            live.apply(&file("a.txt", FileState::Writing, Some(&"x".repeat(1000))));
            bytes += operations(&mut live).to_string().len();
        }
        assert!(bytes < 80 * 1024, "{bytes}");
        for _ in 0..200 {
            live.apply(&text(&format!("*{}*\n\n", "y".repeat(1000))));
            plain += usize::from(operations(&mut live).to_string().contains("<p class=\\\"tail\\\">*y"));
        }
        assert!((50..90).contains(&plain), "{plain} of 200 parts are beyond the limit");
    }
}
