//! Views of the conversation: turns, their blocks and steps, the composer. Pure.
//!
//! They render data that the caller has loaded.

use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use super::deployment::with_code;
use super::version_card::VersionCard;
use crate::bounded_work::Budget;
use crate::domain::{
    App, AppName, Attachment, AttachmentId, FileState, JobId, NOTICE, Question, QuestionKind, REPAIRS_MAX, TextKind,
    Turn, TurnBlock, TurnId, TurnMode, TurnState, VersionId, VersionsInUse,
};
use crate::generation::notes::REPAIR_SENTENCE;
use crate::proof;
use crate::web::format::{self, Html, When};
use crate::web::markdown::{self, Rendered};
use crate::web::ui::{self, Icon, icon, icon_with};

/// Maximum bytes of a file's content that are shown in a turn; *Code* shows the rest.
const CONTENT_LIMIT: usize = 64 * 1024;
/// A line between two steps that is longer than this many bytes is a part of the answer.
const NARRATION_MAX: usize = 280;
/// Maximum characters of an answer that are shown under its question.
const ANSWER_SHOWN: usize = 200;
/// A user's message longer than this many bytes scrolls in its bubble.
const LONG_PROMPT: usize = 1_200;

/// The conversation, or earlier turns to insert before it.
#[derive(Template)]
#[template(path = "app/turns.html")]
pub struct Turns<'a> {
    /// The app.
    pub app: &'a AppName,
    /// Rendered turns, oldest first.
    pub turns: Vec<String>,
    /// The cursor of the turns before these.
    pub earlier: Option<String>,
    /// The whole list, not earlier turns for an existing one.
    pub whole: bool,
}

/// One turn: a message, its progress and its result.
#[derive(Template)]
#[template(path = "app/turn.html")]
pub struct TurnArticle<'a> {
    app: &'a AppName,
    id: String,
    /// The user's text, or a fixed sentence of Slipway.
    prompt: &'a str,
    /// The evidence sent with it: output of an app or errors of a browser.
    evidence: Option<&'a str>,
    attached: Vec<AttachedView<'a>>,
    mode: &'static str,
    long_prompt: bool,
    /// `Fix attempt 1 of 3`, if it is a repair of a failed preview.
    repair: Option<String>,
    /// Why it is repaired, for the user; the prompt is for the model.
    reason: Html,
    live: bool,
    /// Rendered.
    blocks: Vec<String>,
    doing: String,
    elapsed: u64,
    elapsed_words: String,
    /// Of a turn that changed the app.
    card: Option<VersionCard>,
    /// Of one that did not.
    summary: Option<Summary>,
    when: When,
    note: Option<&'a str>,
    failure: Option<&'a str>,
    question: Option<&'a Question>,
    /// Only a click on a choice answers the question, not a message.
    needs_press: bool,
    /// The answer to its question.
    answered: Option<String>,
    withdraw: Option<JobId>,
    next: Offers,
}

/// The actions that a turn offers; only the newest turn offers any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offers {
    /// Its question can be answered with a click.
    pub answers: bool,
    /// It can be continued: the model had answered something.
    pub go_on: bool,
    /// It can be started again, because the model had answered nothing.
    pub again: bool,
    /// The version to restore, with its number.
    pub restore: Option<(VersionId, u32)>,
}

/// An attachment of the message.
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

/// The model's text. In a running turn it has an id, so that more text can be appended.
#[derive(Template)]
#[template(path = "app/block.html")]
pub enum BlockView<'a> {
    /// Complete text.
    Answer {
        /// Their id.
        id: Option<&'a str>,
        /// Rendered Markdown.
        html: Html,
    },
    /// Text that is still growing.
    Growing {
        /// Their id.
        id: &'a str,
        /// The rendered parts, which do not change any more.
        html: Html,
        /// The unrendered rest, which may still change.
        tail: &'a str,
    },
    /// The model's thinking.
    Thought {
        /// Its id.
        id: &'a str,
        /// The text.
        words: &'a str,
    },
}

struct Summary {
    icon: &'static str,
    class: &'static str,
    facts: Vec<String>,
    steps: Option<String>,
    open: bool,
}

/// A line about a step of the model.
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
        /// Its id, while its turn is running.
        id: Option<String>,
        /// What it did.
        summary: String,
        /// `ok`, `not` or `retry`.
        class: &'static str,
        /// Its icon.
        mark: Icon,
    },
    /// Thinking.
    Thought(String),
    /// A line of the model between two steps.
    Said(String),
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
    /// The summary of a file in this state.
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

/// The beginning of a file's content, up to the limit.
pub fn shown_content(text: &str) -> &str {
    &text[..floor(text, CONTENT_LIMIT)]
}

impl StepLine {
    /// A file's step.
    pub fn file(head: FileHead, content: Option<&str>) -> Self {
        Self::File { head, content: content.map(|text| shown_content(text).to_owned()).filter(|text| !text.is_empty()) }
    }

    /// A request to the model that is sent again.
    pub fn retry(id: Option<String>, summary: &str) -> Self {
        Self::Tool { id, summary: summary.to_owned(), class: "retry", mark: icon("reload") }
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

/// A block from the services, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Block<'a> {
    /// Text.
    Text(TextKind, &'a str),
    /// A file.
    File {
        /// Its path.
        path: &'a str,
        /// Its state.
        state: FileState,
        /// Its number of lines.
        lines: Option<usize>,
        /// Its text, if it is stored.
        content: Option<&'a str>,
    },
    /// Another tool.
    Tool {
        /// A summary.
        summary: &'a str,
        /// Whether it succeeded.
        ok: bool,
    },
    /// The model is asked again.
    Retry(&'a str),
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
            TurnBlock::Tool { name, summary, ok: false } if name == NOTICE => Self::Retry(summary),
            TurnBlock::Tool { summary, ok, .. } => Self::Tool { summary, ok: *ok },
        }
    }
}

/// Deadline for rendering the texts of one turn; the rest is shown unrendered.
pub const RENDER_TIME: Duration = Duration::from_secs(1);

/// Renders complete text, with a sentence if it is truncated. The whole text is at the address `whole`.
pub fn answer(text: &str, whole: &str, budget: &Budget) -> Html {
    let Rendered { html: Html(mut html), left_out } = markdown::render(text, budget);
    if left_out > 0 {
        let size = format::bytes(left_out as u64);
        let _ = write!(
            html,
            r#"<p class="note"><span>This text is longer: {size} more are not shown here. <a href="{whole}">Open the whole text</a></span></p>"#
        );
    }
    Html(html)
}

/// The address of a turn's unrendered text.
pub fn whole_text(app: &AppName, turn: TurnId) -> String {
    format!("/apps/{app}/turns/{turn}/text")
}

/// Only the text of an ended turn: its steps are inside the summary. The whole text is at the address `whole`.
pub fn answers(blocks: &[Block<'_>], whole: &str, budget: &Budget) -> Vec<String> {
    let last = last_answer(blocks);
    blocks
        .iter()
        .enumerate()
        .filter_map(|(at, block)| match *block {
            Block::Text(TextKind::Answer, text) if !is_narration(text, Some(at) == last) => {
                BlockView::Answer { id: None, html: answer(text, whole, budget) }.render().ok()
            }
            _ => None,
        })
        .collect()
}

fn last_answer(blocks: &[Block<'_>]) -> Option<usize> {
    blocks.iter().rposition(|block| matches!(block, Block::Text(TextKind::Answer, _)))
}

/// A short line that only says what the next step does. It stands among the steps of an ended turn. The last text is
/// the answer.
fn is_narration(text: &str, is_last: bool) -> bool {
    let text = text.trim();
    !is_last && text.len() <= NARRATION_MAX && !text.contains('\n')
}

/// The steps without the answers, for the summary. With the files' content.
pub fn steps(blocks: &[Block<'_>]) -> String {
    let last = last_answer(blocks);
    blocks
        .iter()
        .enumerate()
        .filter_map(|(at, block)| match *block {
            Block::Text(TextKind::Answer, text) if is_narration(text, Some(at) == last) => {
                StepLine::Said(text.trim().to_owned()).render().ok()
            }
            Block::Text(TextKind::Answer, _) => None,
            Block::Text(TextKind::Thought, text) => StepLine::Thought(text.to_owned()).render().ok(),
            Block::File { path, state, lines, content } => {
                StepLine::file(FileHead::new(None, path, state, lines), content).render().ok()
            }
            Block::Tool { summary, ok } => StepLine::tool(None, summary, ok).render().ok(),
            Block::Retry(summary) => StepLine::retry(None, summary).render().ok(),
        })
        .collect()
}

/// Decides which blocks are shown, one after the other: a tool that wrote a file is hidden, because the file has its own line.
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

/// The visible blocks.
pub fn shown(blocks: &[TurnBlock]) -> Vec<Block<'_>> {
    let mut shown = ShownBlocks::default();
    blocks.iter().filter(|block| shown.shows(block)).map(Block::from).collect()
}

impl<'a> TurnArticle<'a> {
    /// `blocks`: rendered; all of them in order while the turn runs, only the answers afterwards.
    pub fn new(app: &'a AppName, turn: &'a Turn, blocks: Vec<String>, now: jiff::Timestamp) -> Self {
        let live = matches!(turn.state, TurnState::Queued | TurnState::Running);
        let began = turn.started_at.unwrap_or(turn.created_at);
        let elapsed = u64::try_from(now.as_millisecond() - began.as_millisecond()).unwrap_or(0);
        let failed = turn.state == TurnState::Failed;
        let doing = if turn.state == TurnState::Queued { "Queued" } else { "Thinking" };
        let card = if live { None } else { card_of(turn) };
        Self {
            app,
            id: turn.id.to_string(),
            prompt: &turn.prompt,
            evidence: turn.evidence.as_ref().map(|evidence| evidence.text.as_str()),
            attached: turn.attachments.iter().map(AttachedView::new).collect(),
            mode: turn.mode.as_str(),
            repair: turn.repair().map(|repair| format!("Fix attempt {} of {REPAIRS_MAX}", repair.number)),
            reason: repair_reason(turn),
            long_prompt: turn.prompt.len() > LONG_PROMPT,
            live,
            blocks,
            doing: doing.to_owned(),
            elapsed,
            elapsed_words: format::duration(elapsed),
            summary: (!live && card.is_none()).then(|| Summary::new(turn)),
            card,
            when: When::new(turn.created_at, now),
            note: turn.note.as_deref().filter(|_| !failed && !live),
            failure: failed.then(|| turn.note.as_deref().unwrap_or("The turn failed.")),
            question: turn.question.as_ref().filter(|_| !live),
            needs_press: turn.question.as_ref().is_some_and(|question| question.about == QuestionKind::Rewrite),
            withdraw: turn.job.filter(|_| turn.state == TurnState::Queued),
            answered: None,
            next: Offers::default(),
        }
    }

    /// Adds the answer to its question.
    #[must_use]
    pub fn answered(mut self, answer: Option<&str>) -> Self {
        self.answered = answer.map(|words| format::first_line(words, ANSWER_SHOWN));
        self
    }

    /// Adds where its version runs, and whether it is in use.
    #[must_use]
    pub fn in_use(mut self, app: &App, versions: &VersionsInUse) -> Self {
        if let Some(card) = &mut self.card {
            card.place(app, versions);
        }
        self
    }

    /// Adds the model's current activity.
    #[must_use]
    pub fn doing(mut self, words: String) -> Self {
        self.doing = words;
        self
    }

    /// Adds the actions that it offers.
    #[must_use]
    pub fn offering(mut self, offers: Offers) -> Self {
        self.next = offers;
        self
    }

    /// Adds its steps, open.
    #[must_use]
    pub fn with_steps(mut self, steps: String) -> Self {
        if let Some(card) = &mut self.card {
            card.steps = Some(steps);
        } else if let Some(summary) = &mut self.summary {
            summary.steps = Some(steps);
            summary.open = true;
        }
        self
    }
}

impl Summary {
    fn new(turn: &Turn) -> Self {
        let mut facts = without_change(turn);
        facts.extend(format::between(turn.started_at, turn.finished_at));
        facts.extend(cost(turn));
        let (icon, class) = ending(turn).unwrap_or(match turn.state {
            _ if turn.question.is_some() => ("chat", "mark info"),
            TurnState::Done if turn.failed_edits > 0 || is_fix(turn) => ("warning", "mark warn"),
            _ => ("check", "mark"),
        });
        Self { icon, class, facts, steps: None, open: false }
    }
}

/// The icon and its class for a turn that did not end by itself.
fn ending(turn: &Turn) -> Option<(&'static str, &'static str)> {
    match turn.state {
        TurnState::Failed => Some(("warning", "mark bad")),
        TurnState::Stopped => Some(("stop", "mark warn")),
        TurnState::Interrupted => Some(("warning", "mark warn")),
        TurnState::Queued | TurnState::Running | TurnState::Done => None,
    }
}

/// The card of a turn that changed the app.
fn card_of(turn: &Turn) -> Option<VersionCard> {
    let mut facts: Vec<String> = format::between(turn.started_at, turn.finished_at).into_iter().collect();
    // The cost in money is enough, where it is known.
    facts.extend(cost(turn).into_iter().next());
    VersionCard::new(turn, facts, ending(turn).map(|(name, class)| icon_with(name, class)))
}

/// What came of a turn that changed nothing.
fn without_change(turn: &Turn) -> Vec<String> {
    if turn.question.is_some() {
        return vec!["Asked a question".to_owned()];
    }
    if turn.mode == TurnMode::Discuss {
        return vec!["Answered".to_owned()];
    }
    if turn.failed_edits > 0 {
        let failed = format::count(u64::from(turn.failed_edits), "edit", "edits");
        return vec![format!("{failed} failed"), "nothing changed".to_owned()];
    }
    if is_fix(turn) && turn.state == TurnState::Done {
        return vec!["This attempt changed nothing, so the failure is still there".to_owned()];
    }
    vec!["Nothing changed".to_owned()]
}

/// Whether it was started because of a failure.
fn is_fix(turn: &Turn) -> bool {
    turn.origin.is_written_by_slipway()
}

/// Why a turn is repaired.
fn repair_reason(turn: &Turn) -> Html {
    let evidence = turn.evidence.as_ref();
    let code = evidence.and_then(|evidence| evidence.source.strip_prefix("preview: ")).unwrap_or_default();
    let cause = proof::cause(code, evidence.into_iter().flat_map(|evidence| evidence.text.lines()));
    let prompt = turn.prompt.as_str();
    let said = prompt.strip_prefix(REPAIR_SENTENCE).unwrap_or(prompt).trim();
    match cause.as_deref().unwrap_or(said) {
        "" => with_code("The preview failed."),
        reason => with_code(&format!("The preview failed: {reason}")),
    }
}

/// The cost of a turn: in tokens and, if the model's price is known, in money.
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

/// The form for the next message.
#[derive(Template)]
#[template(path = "app/composer.html")]
pub struct Composer<'a> {
    /// The app.
    pub app: &'a AppName,
    /// There are no messages yet.
    pub first: bool,
    /// Its initial text.
    pub prefill: &'a str,
    /// The rendered [`Send`].
    pub send: String,
}

/// The button *Send* or *Stop*.
#[derive(Template)]
#[template(path = "app/send.html")]
pub struct Send<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The running turn's job.
    pub running: Option<JobId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Evidence, QuestionKind, Repair, TurnOrigin};
    use crate::web::samples;

    #[test]
    fn a_finished_turn_shows_its_result() {
        let (app, turn) = (samples::app(), samples::turn(TurnState::Done));
        let blocks = samples::blocks();
        let html = TurnArticle::new(&app.name, &turn, answers(&blocks, "", &Budget::unlimited()), samples::now())
            .render()
            .expect("renders");
        let page = samples::select(&html);
        assert!(page.text(".version-card header").starts_with("v12Opening hours as a table38 s$0.04"));
        assert_eq!(page.texts(".file-change code"), ["public/index.html", "public/script.js", "public/style.css"]);
        assert_eq!(page.text(".file-change:first-child .num"), "+80 −10");
        assert_eq!(page.count(".summary"), 0);
        assert_eq!(page.count("[data-block=file]"), 0);
        assert!(page.text(".prose").contains("opening hours"));
        assert_eq!(page.count("[data-live]"), 0);
    }

    #[test]
    fn narration_between_tools_is_folded_with_the_steps() {
        let long = "An explanation that is worth reading. ".repeat(9);
        let text = |text| Block::Text(TextKind::Answer, text);
        let tool = Block::Tool { summary: "Read a file", ok: true };
        let blocks =
            [text("Looking at part 0."), tool, text(&long), tool, text("Looking at part 1."), tool, text("Done.")];
        let shown = answers(&blocks, "", &Budget::unlimited()).concat();
        assert!(!shown.contains("Looking at") && shown.contains("worth reading") && shown.contains("Done."), "{shown}");
        let steps = samples::select(&steps(&blocks));
        assert_eq!(steps.texts(".said span"), ["Looking at part 0.", "Looking at part 1."]);
        // A turn without a last word keeps what it said last.
        let shown = answers(&[text("One."), tool, text("Two."), tool], "", &Budget::unlimited()).concat();
        assert!(!shown.contains("One.") && shown.contains("Two."), "{shown}");
    }

    #[test]
    fn tokens_are_shown_with_and_without_a_cost() {
        let mut turn = samples::turn(TurnState::Done);
        let cost_of = |turn: &Turn| cost(turn).join(" · ");
        turn.usage = crate::domain::Usage {
            input_tokens: 2_000,
            output_tokens: 1_000,
            cache_read_tokens: 18_000,
            cache_write_tokens: 400,
            cost_usd: Some(0.04),
            estimated: false,
        };
        assert_eq!(cost_of(&turn), "$0.04 · 21,400 tokens (18,000 cached)");
        turn.usage.cost_usd = Some(0.0);
        assert_eq!(cost_of(&turn), "21,400 tokens (18,000 cached)", "the demo model costs nothing");
        turn.usage = crate::domain::Usage { cost_usd: None, cache_read_tokens: 0, estimated: true, ..turn.usage };
        assert_eq!(cost_of(&turn), "about 3,400 tokens");
        turn.usage = crate::domain::Usage::default();
        assert_eq!(cost_of(&turn), "");
    }

    #[test]
    fn evidence_is_shown_separately_from_the_message() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Failed));
        turn.prompt = "Version 12 could not be deployed. Find the cause and fix it.".into();
        turn.origin = TurnOrigin::Fix;
        let (source, text) = ("deployment: start_failed".into(), "ValueError: <b>no</b>".into());
        turn.evidence = Some(Evidence { source, text });
        let html = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.text(".user-message"), "Version 12 could not be deployed. Find the cause and fix it.");
        assert_eq!(page.text(".thought .words"), "ValueError: <b>no</b>");
        assert_eq!(page.count("section.failure form"), 0, "only the newest turn offers something");
        let offers = Offers { again: true, ..Offers::default() };
        let article = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).offering(offers);
        let page = samples::select(&article.render().expect("renders"));
        assert_eq!(page.attribute("section.failure input[name=again]", "value"), turn.id.to_string());
        assert_eq!(page.texts("section.failure .button"), ["Try again"]);
    }

    #[test]
    fn a_running_turn_shows_its_steps_live() {
        let (app, turn) = (samples::app(), samples::turn(TurnState::Running));
        let html =
            TurnArticle::new(&app.name, &turn, samples::live_blocks(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.attribute("[data-block=file]", "data-path"), "public/index.html");
        assert!(page.count("[data-live] [data-working]") == 1 && page.count(".summary") == 0);
        assert!(page.text(".step.busy").contains("Writing public/style.css"));
    }

    #[test]
    fn a_repair_looks_different_from_a_users_message() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        turn.prompt = "The preview of your work failed. “pip” failed.".into();
        turn.origin = TurnOrigin::Repair(Repair { of: turn.id, number: 2 });
        let html = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.count(".user-message"), 0);
        assert_eq!(page.text(".repair-note"), "Fix attempt 2 of 3 · The preview failed: “pip” failed.");
    }

    #[test]
    fn an_open_question_has_a_button_for_each_choice() {
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
        assert_eq!(page.attribute("[data-answered]", "hidden"), "");
        let page = samples::select(&article().answered(Some("Red")).render().expect("renders"));
        assert_eq!((page.count(".question"), page.count(".question form")), (1, 0));
        assert_eq!(page.text("[data-answered]:not([hidden])"), "You answered: Red");
    }

    #[test]
    fn a_rewrite_that_has_begun_can_be_undone() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        turn.question = Some(Question::about_rewrite("All of it?"));
        let article = |offers| TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).offering(offers);
        let asked = Offers { answers: true, ..Offers::default() };
        let page = samples::select(&article(asked.clone()).render().expect("renders"));
        assert_eq!((page.count(".question input[name=answer]"), page.count("form[action$=restore]")), (2, 0));
        let changed = Offers { restore: Some((samples::version_id(11), 11)), ..asked };
        let page = samples::select(&article(changed).render().expect("renders"));
        assert_eq!((page.count(".question input[name=answer]"), page.count("form[action$=restore]")), (1, 1));
        assert!(page.text("form[action$=restore] button").contains("Undo and stop"));
    }

    #[test]
    fn an_interrupted_turn_offers_to_continue_and_to_restore() {
        let app = samples::app();
        let offers = Offers { answers: false, go_on: true, again: false, restore: Some((samples::version_id(11), 11)) };
        for state in [TurnState::Interrupted, TurnState::Failed, TurnState::Stopped] {
            let mut turn = samples::turn(state);
            turn.note = Some("Slipway restarted.".into());
            let article = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).offering(offers.clone());
            let page = samples::select(&article.render().expect("renders"));
            let href = format!("/apps/{}/turns/{}/continue", app.name, turn.id);
            assert_eq!(page.attribute("form[action$=continue]", "action"), href);
            assert!(page.text("form[action$=restore] button").contains("version 11"), "{state:?}");
        }
    }

    #[test]
    fn a_card_says_where_its_version_runs_and_whether_it_was_undone() {
        use crate::domain::RestoredVersion;
        let (mut app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        app.environments[0].version_number = Some(12);
        let card = |turn: &Turn, used: &VersionsInUse| {
            let article = TurnArticle::new(&app.name, turn, Vec::new(), samples::now()).in_use(&app, used);
            samples::select(&article.render().expect("renders"))
        };
        let page = card(&turn, &VersionsInUse::new(12, &[]));
        assert_eq!(page.texts(".places > :not([hidden])"), ["in preview"]);
        assert_eq!(page.attribute("[data-restore]", "hidden"), "", "it is the current one");
        let undone = VersionsInUse::new(13, &[RestoredVersion { number: 13, of: 9 }]);
        let page = card(&turn, &undone);
        assert_eq!(page.texts(".places > :not([hidden])"), ["in preview", "undone by you"]);
        assert_eq!(page.text(".version-card.undone [data-restore]:not([hidden]) [data-word]"), "Redo");
        assert_eq!(page.count("form[action$='/turns/31/edit']"), 1, "it works without scripts");
        // What Slipway wrote is not edited; recorded totals stand for files that are not known.
        turn.origin = TurnOrigin::Fix;
        turn.changes = Vec::new();
        turn.failed_edits = 2;
        let page = card(&turn, &VersionsInUse::new(14, &[]));
        assert_eq!(page.count("form[action$='/edit']"), 0);
        assert!(page.text(".changed").starts_with("3 files, +120 −14"), "{}", page.text(".changed"));
        assert_eq!(page.text(".changed .warn"), "2 edits failed");
        assert_eq!(page.text("[data-restore]:not([hidden]) [data-word]"), "Restore");
    }

    #[test]
    fn a_turn_that_changed_nothing_says_why() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Done));
        (turn.version, turn.version_number, turn.size) = (None, None, crate::domain::ChangeSize::default());
        let words = |turn: &Turn| {
            let html = TurnArticle::new(&app.name, turn, Vec::new(), samples::now()).render().expect("renders");
            let page = samples::select(&html);
            (page.texts(".facts-line > span").swap_remove(0), page.count(".summary > summary .warn"))
        };
        assert_eq!(words(&turn), ("Nothing changed".to_owned(), 0));
        turn.failed_edits = 3;
        assert_eq!(words(&turn), ("3 edits failed".to_owned(), 1));
        turn.failed_edits = 0;
        turn.origin = TurnOrigin::Repair(Repair { of: turn.id, number: 2 });
        assert_eq!(words(&turn), ("This attempt changed nothing, so the failure is still there".to_owned(), 1));
        turn.question = Some(Question::about_rewrite("All of it?"));
        assert_eq!(words(&turn), ("Asked a question".to_owned(), 0));
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
    fn text_of_users_and_models_is_escaped() {
        let (app, mut turn) = (samples::app(), samples::turn(TurnState::Failed));
        turn.prompt = "<script>alert(1)</script>".into();
        turn.note = Some("<img src=x>".into());
        let step = steps(&[Block::Tool { summary: "</pre><script>", ok: false }]);
        let article = TurnArticle::new(&app.name, &turn, Vec::new(), samples::now()).with_steps(step);
        let html = article.render().expect("renders");
        let page = samples::select(&html);
        assert_eq!(page.count("script") + page.count("img"), 0);
        assert_eq!(page.text(".user-message"), "<script>alert(1)</script>");
    }

    #[test]
    fn a_long_answer_says_that_it_is_truncated() {
        let long = "A line of words.\n\n".repeat(20_000);
        let html = answers(&[Block::Text(TextKind::Answer, &long)], "/apps/a/turns/1/text", &Budget::unlimited());
        let page = samples::select(&html.concat());
        assert!(page.text(".note").starts_with("This text is longer: "), "{}", page.text(".note"));
        assert_eq!(page.attribute(".note a", "href"), "/apps/a/turns/1/text");
    }
}
