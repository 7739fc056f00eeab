//! The conversation as it is shown: turns, their blocks and steps, the composer.
//!
//! Pure: made from what the services tell; asks nothing itself.

use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use crate::bounded_work::Budget;
use crate::domain::{
    AppName, Attachment, AttachmentId, FileState, JobId, Question, QuestionKind, TextKind, Turn, TurnBlock, TurnId,
    TurnMode, TurnState, VersionId,
};
use crate::web::format::{self, Html, When};
use crate::web::markdown::{self, Rendered};
use crate::web::ui::{self, Icon, icon, icon_with};

/// A file's content is shown up to this many bytes while it is written; the rest is in *Code*.
const CONTENT_LIMIT: usize = 64 * 1024;
/// A longer message of the user scrolls in its bubble.
const LONG_PROMPT: usize = 1_200;

/// The conversation, or earlier turns to be put before it.
#[derive(Template)]
#[template(path = "app/turns.html")]
pub struct Turns<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Rendered turns, oldest first.
    pub turns: Vec<String>,
    /// Where the turns before these begin.
    pub earlier: Option<String>,
    /// The whole list, not an addition to it.
    pub whole: bool,
}

/// One message and all that came of it.
#[derive(Template)]
#[template(path = "app/turn.html")]
pub struct TurnArticle<'a> {
    app: &'a AppName,
    id: String,
    /// In the person's words, or a sentence of Slipway's.
    prompt: &'a str,
    /// What the model is shown with it: what an app printed or a browser reported.
    evidence: Option<&'a str>,
    attached: Vec<AttachedView<'a>>,
    mode: &'static str,
    long_prompt: bool,
    /// Its number, if it is a repair of a failed preview.
    repair: Option<u32>,
    live: bool,
    /// Rendered.
    blocks: Vec<String>,
    doing: String,
    elapsed: u64,
    elapsed_words: String,
    summary: Option<Summary>,
    when: When,
    note: Option<&'a str>,
    failure: Option<&'a str>,
    question: Option<&'a Question>,
    /// Only a press on a choice allows what it asks.
    needs_press: bool,
    withdraw: Option<JobId>,
    next: Offers,
}

/// What may be done from a turn; only the newest offers anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Its question can be answered with a press.
    pub answers: bool,
    /// There is work left to go on with.
    pub go_on: bool,
    /// The version to go back to, with its number.
    pub restore: Option<(VersionId, u32)>,
}

/// A file that came with the message.
struct AttachedView<'a> {
    id: &'a AttachmentId,
    name: &'a str,
    size: String,
    /// An image's width and height.
    image: Option<(u32, u32)>,
}

impl<'a> AttachedView<'a> {
    fn new(attachment: &'a Attachment) -> Self {
        Self {
            id: &attachment.id,
            name: &attachment.name,
            size: format::bytes(attachment.bytes),
            image: attachment.size.filter(|_| attachment.kind.is_image()),
        }
    }
}

/// The model's words. Those of a turn at work have an id, so that more can be put into them.
#[derive(Template)]
#[template(path = "app/block.html")]
pub enum BlockView<'a> {
    /// Words that are all there.
    Answer {
        /// Their id.
        id: Option<&'a str>,
        /// As Markdown says.
        html: Html,
    },
    /// Words that are still coming.
    Growing {
        /// Their id.
        id: &'a str,
        /// What is rendered for good.
        html: Html,
        /// What may still change, as it came.
        tail: &'a str,
    },
    /// What it thinks on the way.
    Thought {
        /// Its id.
        id: &'a str,
        /// The words.
        words: &'a str,
    },
}

struct Summary {
    icon: &'static str,
    class: &'static str,
    facts: Vec<String>,
    steps: Option<String>,
    version: Option<VersionId>,
    open: bool,
}

/// A line of what the model did.
#[derive(Debug, Clone, Template)]
#[template(path = "app/step.html")]
pub enum StepLine {
    /// A file was written or deleted.
    File {
        /// Its summary.
        head: FileHead,
        /// Its text.
        content: Option<String>,
    },
    /// Another tool was used.
    Tool {
        /// Its id, while its turn is at work.
        id: Option<String>,
        /// What it did.
        summary: String,
        /// `ok` or `not`.
        class: &'static str,
        /// Its mark.
        mark: Icon,
    },
    /// What it thought.
    Thought(String),
}

/// The summary of a file's step.
#[derive(Debug, Clone, Template)]
#[template(path = "app/file_head.html")]
pub struct FileHead {
    id: Option<String>,
    path: String,
    verb: &'static str,
    /// `busy` or `ok`.
    pub class: &'static str,
    mark: Icon,
    lines: Option<String>,
}

impl FileHead {
    /// What is said of a file in this state.
    pub fn new(id: Option<String>, path: &str, state: FileState, lines: Option<usize>) -> Self {
        let (verb, class, mark) = match state {
            FileState::Writing => ("Writing", "busy", icon_with("spinner", "spin")),
            FileState::Written => ("Wrote", "ok", icon("check")),
            FileState::Deleted => ("Deleted", "ok", icon("trash")),
        };
        Self { id, path: path.to_owned(), verb, class, mark, lines: lines.map(lines_in_words) }
    }

    /// It is being written.
    pub fn is_busy(&self) -> bool {
        self.class == "busy"
    }
}

impl HtmlSafe for FileHead {}

/// `42 lines`.
pub fn lines_in_words(lines: usize) -> String {
    format::count(lines as u64, "line", "lines")
}

/// As much of a file's content as is shown.
pub fn shown_content(text: &str) -> &str {
    &text[..floor(text, CONTENT_LIMIT)]
}

impl StepLine {
    /// A file's step.
    pub fn file(head: FileHead, content: Option<&str>) -> Self {
        Self::File { head, content: content.map(|text| shown_content(text).to_owned()).filter(|text| !text.is_empty()) }
    }

    /// Another tool's step.
    pub fn tool(id: Option<String>, summary: &str, ok: bool) -> Self {
        let (class, mark) = if ok { ("ok", icon("check")) } else { ("not", icon("cross")) };
        Self::Tool { id, summary: summary.to_owned(), class, mark }
    }
}

fn floor(text: &str, limit: usize) -> usize {
    if text.len() <= limit { text.len() } else { text.floor_char_boundary(limit) }
}

/// A block as the services tell it, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Block<'a> {
    /// Words.
    Text(TextKind, &'a str),
    /// A file.
    File {
        /// Which.
        path: &'a str,
        /// What happened to it.
        state: FileState,
        /// How many lines it has.
        lines: Option<usize>,
        /// Its text, where it is kept.
        content: Option<&'a str>,
    },
    /// Another tool.
    Tool {
        /// What it did.
        summary: &'a str,
        /// It did it.
        ok: bool,
    },
}

impl<'a> From<&'a TurnBlock> for Block<'a> {
    fn from(block: &'a TurnBlock) -> Self {
        match block {
            TurnBlock::Answer(text) => Self::Text(TextKind::Answer, text),
            TurnBlock::Thought(text) => Self::Text(TextKind::Thought, text),
            TurnBlock::File { path, state, content } => Self::File {
                path: path.as_str(),
                state: *state,
                lines: content.as_ref().map(|text| text.lines().count().max(1)),
                content: content.as_deref(),
            },
            TurnBlock::Tool { summary, ok, .. } => Self::Tool { summary, ok: *ok },
        }
    }
}

/// How long the texts of one turn may take to be rendered; what is left then is shown as it is.
pub const RENDER_TIME: Duration = Duration::from_secs(1);

/// Renders words that are all there, with a sentence about what is left out. The whole text is at `whole`.
pub fn answer(text: &str, whole: &str, budget: &Budget) -> Html {
    let Rendered { html: Html(mut html), left_out } = markdown::render(text, budget);
    if left_out > 0 {
        let size = format::bytes(left_out as u64);
        let _ = write!(
            html,
            r#"<p class="note"><span>This text is longer: {size} more are not shown here. <a href="{whole}">The whole text</a></span></p>"#
        );
    }
    Html(html)
}

/// Where the model's words of a turn stand as they came, in plain text.
pub fn whole_text(app: &AppName, turn: TurnId) -> String {
    format!("/apps/{app}/turns/{turn}/text")
}

/// The words alone, for a turn that has ended: its steps are behind the summary. The whole text is at `whole`.
pub fn answers(blocks: &[Block<'_>], whole: &str, budget: &Budget) -> Vec<String> {
    blocks
        .iter()
        .filter_map(|block| match *block {
            Block::Text(TextKind::Answer, text) => {
                BlockView::Answer { id: None, html: answer(text, whole, budget) }.render().ok()
            }
            _ => None,
        })
        .collect()
}

/// Everything but the words, for behind the summary. With the files' content.
pub fn steps(blocks: &[Block<'_>]) -> String {
    blocks
        .iter()
        .filter_map(|block| match *block {
            Block::Text(TextKind::Answer, _) => None,
            Block::Text(TextKind::Thought, text) => StepLine::Thought(text.to_owned()).render().ok(),
            Block::File { path, state, lines, content } => {
                StepLine::file(FileHead::new(None, path, state, lines), content).render().ok()
            }
            Block::Tool { summary, ok } => StepLine::tool(None, summary, ok).render().ok(),
        })
        .collect()
}

/// Tells which blocks are shown, asked about each in turn: a tool that wrote a file is told by the file's own line.
#[derive(Debug, Default)]
pub struct ShownBlocks {
    follows_file: bool,
}

impl ShownBlocks {
    /// Whether the next block is shown.
    pub fn shows(&mut self, block: &TurnBlock) -> bool {
        if let TurnBlock::Tool { name, ok: true, .. } = block
            && self.follows_file
            && matches!(name.as_str(), "write_file" | "edit_file" | "delete_file")
        {
            return false;
        }
        self.follows_file = matches!(block, TurnBlock::File { .. });
        true
    }
}

/// The blocks as they are shown.
pub fn shown(blocks: &[TurnBlock]) -> Vec<Block<'_>> {
    let mut shown = ShownBlocks::default();
    blocks.iter().filter(|block| shown.shows(block)).map(Block::from).collect()
}

impl<'a> TurnArticle<'a> {
    /// `blocks` as they are shown, rendered: in order while it runs, the words alone afterwards.
    pub fn new(app: &'a AppName, turn: &'a Turn, blocks: Vec<String>, now: jiff::Timestamp) -> Self {
        let live = matches!(turn.state, TurnState::Queued | TurnState::Running);
        let began = turn.started_at.unwrap_or(turn.created_at);
        let elapsed = u64::try_from(now.as_millisecond() - began.as_millisecond()).unwrap_or(0);
        let failed = turn.state == TurnState::Failed;
        let doing = if turn.state == TurnState::Queued { "Waiting for its turn" } else { "Thinking" };
        Self {
            app,
            id: turn.id.to_string(),
            prompt: &turn.prompt,
            evidence: turn.evidence.as_ref().map(|evidence| evidence.text.as_str()),
            attached: turn.attachments.iter().map(AttachedView::new).collect(),
            mode: turn.mode.as_str(),
            repair: turn.repair().map(|repair| repair.number),
            long_prompt: turn.prompt.len() > LONG_PROMPT,
            live,
            blocks,
            doing: doing.to_owned(),
            elapsed,
            elapsed_words: format::duration(elapsed),
            summary: (!live).then(|| Summary::new(turn)),
            when: When::new(turn.created_at, now),
            note: turn.note.as_deref().filter(|_| !failed && !live),
            failure: failed.then(|| turn.note.as_deref().unwrap_or("The turn failed.")),
            question: turn.question.as_ref().filter(|_| !live),
            needs_press: turn.question.as_ref().is_some_and(|question| question.about == QuestionKind::Rewrite),
            withdraw: turn.job.filter(|_| turn.state == TurnState::Queued),
            next: Offers::default(),
        }
    }

    /// With what the model does at this moment.
    #[must_use]
    pub fn doing(mut self, words: String) -> Self {
        self.doing = words;
        self
    }

    /// With what may be done from it.
    #[must_use]
    pub fn offering(mut self, offers: Offers) -> Self {
        self.next = offers;
        self
    }

    /// With its steps shown at once.
    #[must_use]
    pub fn with_steps(mut self, steps: String) -> Self {
        if let Some(summary) = &mut self.summary {
            summary.steps = Some(steps);
            summary.open = true;
        }
        self
    }
}

impl Summary {
    fn new(turn: &Turn) -> Self {
        let mut facts = Vec::new();
        let size = turn.size;
        if size.files > 0 {
            facts.push(format!(
                "{}, +{} −{}",
                format::count(u64::from(size.files), "file", "files"),
                size.additions,
                size.deletions
            ));
        } else if turn.mode == TurnMode::Discuss {
            facts.push("Answered".to_owned());
        } else {
            facts.push("Nothing changed".to_owned());
        }
        facts.extend(turn.version_number.map(|number| format!("version {number}")));
        facts.extend(format::between(turn.started_at, turn.finished_at));
        facts.extend(cost(turn));
        let (icon, class) = match turn.state {
            TurnState::Failed => ("warning", "mark bad"),
            TurnState::Stopped => ("stop", "mark warn"),
            TurnState::Interrupted => ("warning", "mark warn"),
            TurnState::Queued | TurnState::Running | TurnState::Done => ("check", "mark"),
        };
        Self { icon, class, facts, steps: None, version: turn.version.clone(), open: false }
    }
}

/// What a turn has cost: in money where the model's price is known, and in tokens.
fn cost(turn: &Turn) -> Vec<String> {
    let usage = turn.usage;
    let about = if usage.estimated { "about " } else { "" };
    let money = usage.cost_usd.filter(|dollars| *dollars > 0.0);
    let tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    let cached = match usage.cache_read_tokens {
        0 => String::new(),
        read => format!(" ({} cached)", format::grouped(read)),
    };
    let tokens = (tokens > 0).then(|| format!("{about}{}{cached}", format::count(tokens, "token", "tokens")));
    money.map(|dollars| format::money_about(dollars, usage.estimated)).into_iter().chain(tokens).collect()
}

/// Where the next message is written.
#[derive(Template)]
#[template(path = "app/composer.html")]
pub struct Composer<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Nothing was said yet.
    pub first: bool,
    /// What is written in it already.
    pub prefill: &'a str,
    /// The rendered [`Send`].
    pub send: String,
}

/// *Send*, or *Stop* in its place.
#[derive(Template)]
#[template(path = "app/send.html")]
pub struct Send<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The turn's job, while one runs.
    pub running: Option<JobId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Evidence, QuestionKind, Repair, TurnOrigin};
    use crate::web::samples;

    #[test]
    fn a_finished_turn_says_what_it_came_to() {
        let (app, turn) = (samples::app(), samples::turn(TurnState::Done));
        let blocks = samples::blocks();
        let html = TurnArticle::new(&app.name, &turn, answers(&blocks, "", &Budget::unlimited()), samples::now())
            .render()
            .expect("renders");
        let page = samples::select(&html);
        assert!(page.text(".summary summary").starts_with("3 files, +120 −14version 1238 s$0.04"));
        assert_eq!(page.count("[data-block=file]"), 0);
        assert!(page.text(".prose").contains("opening hours"));
        assert_eq!(page.count("[data-live]"), 0);
    }

    #[test]
    fn tokens_are_told_with_the_money_and_without() {
        let mut turn = samples::turn(TurnState::Done);
        let told = |turn: &Turn| cost(turn).join(" · ");
        turn.usage = crate::domain::Usage {
            input_tokens: 2_000,
            output_tokens: 1_000,
            cache_read_tokens: 18_000,
            cache_write_tokens: 400,
            cost_usd: Some(0.04),
            estimated: false,
        };
        assert_eq!(told(&turn), "$0.04 · 21,400 tokens (18,000 cached)");
        turn.usage.cost_usd = Some(0.0);
        assert_eq!(told(&turn), "21,400 tokens (18,000 cached)", "the demo model costs nothing");
        turn.usage = crate::domain::Usage { cost_usd: None, cache_read_tokens: 0, estimated: true, ..turn.usage };
        assert_eq!(told(&turn), "about 3,400 tokens");
        turn.usage = crate::domain::Usage::default();
        assert_eq!(told(&turn), "");
    }

    #[test]
    fn evidence_is_shown_apart_from_the_words() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Failed));
        turn.prompt = "Version 12 could not be deployed. Find the cause and fix it.".into();
        turn.origin = TurnOrigin::Fix;
        let (source, text) = ("deployment: start_failed".into(), "ValueError: <b>no</b>".into());
        turn.evidence = Some(Evidence { source, text });
        let html = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.text(".said"), "Version 12 could not be deployed. Find the cause and fix it.");
        assert_eq!(page.text(".thought .words"), "ValueError: <b>no</b>");
        assert_eq!(page.attribute("section.failure input[name=again]", "value"), turn.id.to_string());
    }

    #[test]
    fn a_running_turn_shows_its_steps_as_they_come() {
        let (app, turn) = (samples::app(), samples::turn(TurnState::Running));
        let html =
            TurnArticle::new(&app.name, &turn, samples::live_blocks(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.attribute("[data-block=file]", "data-path"), "public/index.html");
        assert!(page.count("[data-live] [data-working]") == 1 && page.count(".summary") == 0);
        assert!(page.text(".step.busy").contains("Writing public/style.css"));
    }

    #[test]
    fn a_repair_is_told_from_what_somebody_wrote() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        turn.prompt = "The preview of your work failed. “pip” failed.".into();
        turn.origin = TurnOrigin::Repair(Repair { of: turn.id, number: 2 });
        let html = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.count(".said"), 0);
        assert_eq!(page.text(".repair-note"), "Repair 2 The preview of your work failed. “pip” failed.");
    }

    #[test]
    fn a_question_has_its_answers_as_buttons_while_it_is_open() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        let choices = vec!["Red".to_owned(), "<b>Green".to_owned()];
        turn.question = Some(Question { text: "Which *colour*?".into(), choices, about: QuestionKind::Other });
        let article = || TurnArticle::new(&app.name, &turn, Vec::new(), samples::now());
        let offers = Offers { answers: true, ..Offers::default() };
        let page = samples::select(&article().offering(offers).render().expect("renders"));
        assert!(page.text(".question").contains("Which *colour*?"));
        assert_eq!(page.count(".question form button"), 2);
        assert_eq!(page.count(".question b"), 0);
        assert_eq!(page.attribute(".question form:last-of-type input[name=answer]", "value"), "31-2");
        assert_eq!(page.count(".question input[name=prompt]"), 0);
        let page = samples::select(&article().render().expect("renders"));
        assert_eq!((page.count(".question"), page.count(".question form")), (1, 0));
    }

    #[test]
    fn a_turn_that_was_cut_short_offers_the_way_on_and_back() {
        let app = samples::app();
        let offers = Offers { answers: false, go_on: true, restore: Some((samples::version_id(11), 11)) };
        for state in [TurnState::Interrupted, TurnState::Failed, TurnState::Stopped] {
            let mut turn = samples::turn(state);
            turn.note = Some("Slipway went away.".into());
            let article = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).offering(offers.clone());
            let page = samples::select(&article.render().expect("renders"));
            let href = format!("/apps/{}/turns/{}/continue", app.name, turn.id);
            assert_eq!(page.attribute("form[action$=continue]", "action"), href);
            assert!(page.text("form[action$=restore] button").contains("version 11"), "{state:?}");
        }
    }

    #[test]
    fn a_queued_message_can_be_withdrawn() {
        let app = samples::app();
        let queued = samples::turn(TurnState::Queued);
        let html = TurnArticle::new(&app.name, &queued, Vec::new(), samples::now()).render().expect("renders");
        assert_eq!(samples::select(&html).attribute("[data-withdraw]", "action"), "/jobs/40/cancel");
        let running = samples::turn(TurnState::Running);
        let html = TurnArticle::new(&app.name, &running, Vec::new(), samples::now()).render().expect("renders");
        assert_eq!(samples::select(&html).count("[data-withdraw]"), 0);
    }

    #[test]
    fn what_people_and_models_write_is_escaped() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Failed));
        turn.prompt = "<script>alert(1)</script>".into();
        turn.note = Some("<img src=x>".into());
        let step = steps(&[Block::Tool { summary: "</pre><script>", ok: false }]);
        let article = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).with_steps(step);
        let html = article.render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.count("script") + page.count("img"), 0);
        assert_eq!(page.text(".said"), "<script>alert(1)</script>");
    }

    #[test]
    fn a_long_answer_says_that_there_is_more() {
        let long = "A line of words.\n\n".repeat(20_000);
        let html = answers(&[Block::Text(TextKind::Answer, &long)], "/apps/a/turns/1/text", &Budget::unlimited());
        let page = samples::select(&html.concat());
        assert!(page.text(".note").starts_with("This text is longer: "), "{}", page.text(".note"));
        assert_eq!(page.attribute(".note a", "href"), "/apps/a/turns/1/text");
    }
}
