//! Turns: ask for something, read the conversation.

use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::PageQuery;
use crate::domain::attachment::file_name;
use crate::domain::{
    self, AnswerId, AppName, Attachment, AttachmentId, AttachmentKind, ChangeSize, EventId, Evidence, FileState, JobId,
    ModelId, Question, QuestionKind, Repair, Turn, TurnBlock, TurnId, TurnMode, TurnState, Usage, VersionId,
    WorkspacePath,
};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::attachments::{BYTES_MAX, NewAttachment};
use crate::services::turns::PROMPT_MAX;

/// Largest body: files in base64 take a third more, and a message its characters.
pub const BODY_MAX: usize = BYTES_MAX / 3 * 4 + 4 * PROMPT_MAX + 1024 * 1024;

/// What a user asks for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTurn {
    /// In plain language; at most 100,000 characters. It may be left out with `answer_id`.
    #[serde(default)]
    #[schema(example = "Add a page with our opening hours")]
    prompt: String,
    /// The answer to the question that the newest turn ended with, one of its `answers`. What a question of the kind
    /// `rewrite` asks is allowed by this alone, whatever `prompt` says. 409 `question_closed` once it was answered, or
    /// something else was asked.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "17-1")]
    answer_id: Option<AnswerId>,
    /// `build` may change files; `discuss` reads and answers.
    #[serde(default)]
    #[schema(value_type = Option<TurnMode>, default = "build")]
    mode: TurnMode,
    /// Images (PNG, JPEG, WebP, GIF) and text files that the model is to see: at most 8, with 16 MB together;
    /// an image has at most 3.7 MB and 8,000 pixels on each side, a text 256 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Vec<NewAttachmentJson>>)]
    attachments: Vec<NewAttachmentJson>,
}

/// A file that comes with a message. What it is, is told by its bytes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAttachment)]
pub struct NewAttachmentJson {
    /// What it is called.
    #[schema(example = "sketch.png")]
    name: String,
    /// Its bytes in base64.
    #[schema(format = Byte)]
    data: String,
}

impl NewAttachmentJson {
    fn decode(self) -> AppResult<NewAttachment> {
        let bytes = STANDARD.decode(self.data.trim()).map_err(|error| {
            AppError::invalid(format!("“data” of the attachment “{}” is no base64: {error}.", file_name(&self.name)))
        })?;
        Ok(NewAttachment { name: self.name, bytes })
    }
}

/// A file that came with a message.
#[derive(Serialize, ToSchema)]
#[schema(as = Attachment)]
pub struct AttachmentJson {
    /// The SHA-256 of its bytes, under which they are found.
    #[schema(value_type = String)]
    id: AttachmentId,
    /// What its sender calls it.
    name: String,
    /// What it is.
    kind: AttachmentKind,
    /// Its size.
    bytes: u64,
    /// An image's width in pixels.
    width: Option<u32>,
    /// An image's height in pixels.
    height: Option<u32>,
}

impl From<Attachment> for AttachmentJson {
    fn from(attachment: Attachment) -> Self {
        let (width, height) = attachment.size.unzip();
        Self { id: attachment.id, name: attachment.name, kind: attachment.kind, bytes: attachment.bytes, width, height }
    }
}

/// One message of the user, and all that the model did in answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Turn)]
pub struct TurnJson {
    /// Identifies the turn; never reused.
    #[schema(value_type = i64)]
    id: TurnId,
    /// Within its app, from 1.
    number: u32,
    /// What the user wrote, or a sentence of Slipway's: see `origin`.
    prompt: String,
    /// Why it exists: `person` (a person wrote it), `continue` (*Continue* was pressed), `repair` (a preview failed), `fix` (a
    /// person asked for a fix of a failed deployment or of browser errors).
    #[schema(value_type = String, example = "person")]
    origin: &'static str,
    /// What shows the failure that it is about, as it was printed.
    evidence: Option<Evidence>,
    /// The choice that it answers a question with.
    #[schema(value_type = Option<String>, example = "17-1")]
    answer_id: Option<AnswerId>,
    /// The files that came with it.
    attachments: Vec<AttachmentJson>,
    /// Whether the model may write.
    mode: TurnMode,
    /// Where it stands.
    state: TurnState,
    /// The job that runs it.
    #[schema(value_type = Option<i64>)]
    job: Option<JobId>,
    /// The version that it made, if it changed something.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
    /// The model that answered; null before it began.
    #[schema(value_type = Option<String>)]
    model: Option<ModelId>,
    /// How much it changed.
    size: ChangeSize,
    /// Tokens and money.
    usage: Usage,
    /// Why it ended early, in a sentence.
    note: Option<String>,
    /// What it repairs, if nobody wrote it: a preview that failed after an earlier turn.
    repair: Option<Repair>,
    /// The same as a word: `asked`, `stopped`, `withdrawn`, `interrupted`, `same_error`, `cap_steps`, `cap_files`,
    /// `cap_file_bytes`, `cap_tokens`, `cap_cost`, `cap_wall_time`, `cap_day`, or the code of an error.
    reason: Option<String>,
    /// What the model asks; the answer is the next turn's prompt, or one of its `answers`.
    question: Option<QuestionJson>,
    /// Whether there is work left to go on with.
    may_continue: bool,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the model began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// What the model said, as Markdown.
    answer: String,
    /// What it did, in order.
    steps: Vec<TurnStep>,
}

/// What the model asks a person.
#[derive(Serialize, ToSchema)]
#[schema(as = Question)]
pub struct QuestionJson {
    /// The question, in a sentence or two.
    text: String,
    /// The words of the answers to choose from; another may be written all the same. None: only a written one.
    choices: Vec<String>,
    /// The same with their ids.
    answers: Vec<AnswerJson>,
    /// What it is about.
    about: QuestionKind,
}

/// An answer to choose.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerJson {
    /// Sent as `answer_id` with the next turn.
    #[schema(value_type = String, example = "17-1")]
    id: AnswerId,
    /// Its words.
    text: String,
}

impl QuestionJson {
    fn new(turn: TurnId, question: Question) -> Self {
        let numbered = (1..).zip(&question.choices);
        let answers = numbered.map(|(choice, text)| AnswerJson { id: AnswerId { turn, choice }, text: text.clone() });
        Self { text: question.text, answers: answers.collect(), about: question.about, choices: question.choices }
    }
}

/// A part of what the model did.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TurnStep {
    /// It said something, as Markdown.
    Text {
        /// The words.
        text: String,
    },
    /// It thought; a summary, as Markdown.
    Thought {
        /// The words.
        text: String,
    },
    /// It wrote or deleted a file.
    File {
        /// Which.
        #[schema(value_type = String)]
        path: WorkspacePath,
        /// Where it stands: `writing`, `written` or `deleted`.
        #[schema(value_type = String)]
        state: FileState,
    },
    /// It used another tool.
    Tool {
        /// Its name.
        name: String,
        /// What it did, in one line.
        summary: String,
        /// Whether it did it.
        ok: bool,
    },
}

impl From<TurnBlock> for TurnStep {
    fn from(block: TurnBlock) -> Self {
        match block {
            TurnBlock::Answer(text) => Self::Text { text },
            TurnBlock::Thought(text) => Self::Thought { text },
            TurnBlock::File { path, state, .. } => Self::File { path, state },
            TurnBlock::Tool { name, summary, ok } => Self::Tool { name, summary, ok },
        }
    }
}

impl TurnJson {
    fn new(turn: Turn, blocks: Vec<TurnBlock>) -> Self {
        let said: Vec<&str> = blocks
            .iter()
            .filter_map(|block| match block {
                TurnBlock::Answer(text) => Some(text.trim()),
                _ => None,
            })
            .collect();
        let (may_continue, repair) = (turn.may_continue(), turn.repair());
        Self {
            id: turn.id,
            number: turn.number,
            prompt: turn.prompt,
            origin: turn.origin.as_str(),
            evidence: turn.evidence,
            answer_id: turn.answer,
            attachments: turn.attachments.into_iter().map(AttachmentJson::from).collect(),
            mode: turn.mode,
            state: turn.state,
            job: turn.job,
            version: turn.version,
            model: turn.model,
            size: turn.size,
            usage: turn.usage,
            note: turn.note,
            repair,
            reason: turn.reason,
            question: turn.question.map(|question| QuestionJson::new(turn.id, question)),
            may_continue,
            created_at: turn.created_at,
            started_at: turn.started_at,
            finished_at: turn.finished_at,
            answer: said.join("\n\n"),
            steps: blocks.into_iter().map(TurnStep::from).collect(),
        }
    }
}

/// A page of the conversation.
#[derive(Serialize, ToSchema)]
pub struct TurnList {
    /// The newest first.
    turns: Vec<TurnJson>,
    /// Where the next page begins; null at the end.
    next: Option<String>,
}

/// Ask for something.
///
/// Turns of an app wait for each other. What the model writes comes over the job's events.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/turns", tag = "Turns", params(("app" = String, Path, description = "The app's name.")),
    request_body = NewTurn,
    responses((status = 202, description = "The job that runs it.", body = JobJson)),
)]
pub async fn create(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Json(new): Json<NewTurn>,
) -> AppResult<Response> {
    let files = new.attachments.into_iter().map(NewAttachmentJson::decode).collect::<AppResult<Vec<_>>>()?;
    let turn = domain::NewTurn { answer: new.answer_id, ..domain::NewTurn::of_person(new.prompt, new.mode) };
    let (_, job) = services.start(&name, turn, files).await?;
    Ok(accepted(job))
}

/// Read a file that came with a message.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/attachments/{id}", tag = "Turns",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = String, Path, description = "As the turn gives it."),
    ),
    responses((status = 200, description = "The bytes, with their media type.", body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub async fn attachment(
    State(services): State<Services>,
    Path((name, id)): Path<(AppName, AttachmentId)>,
) -> AppResult<Response> {
    let app = services.app(&name).await?;
    let (kind, bytes) = services.attachment(&app, &id).await?;
    let policy = "default-src 'none'; sandbox";
    Ok(([(CONTENT_TYPE, kind.media_type()), (CONTENT_SECURITY_POLICY, policy)], bytes).into_response())
}

/// Go on with a turn that was cut short.
///
/// The newest turn, after an interruption, a stop, a failure or a cap. What was said and written
/// stands; nothing is done twice. 409 `nothing_to_continue` otherwise.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/turns/{turn}/continue", tag = "Turns",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("turn" = i64, Path, description = "The turn's id."),
    ),
    responses((status = 202, description = "The job that runs the turn that goes on.", body = JobJson)),
)]
pub async fn go_on(State(services): State<Services>, Path((name, turn)): Path<(AppName, i64)>) -> AppResult<Response> {
    let (_, job) = services.continue_turn(&name, TurnId(turn)).await?;
    Ok(accepted(job))
}

/// Read the conversation.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/turns", tag = "Turns",
    params(("app" = String, Path, description = "The app's name."), PageQuery),
    responses((status = 200, description = "Turns, newest first.", body = TurnList)),
)]
pub async fn list(
    State(services): State<Services>,
    Path(name): Path<AppName>,
    Query(page): Query<PageQuery>,
) -> AppResult<axum::Json<TurnList>> {
    let page = page.request(1)?;
    let app = services.app(&name).await?;
    let page = services.turns(&app, page).await?;
    let mut turns = Vec::with_capacity(page.items.len());
    for turn in page.items {
        let blocks = services.turn_blocks(&turn, EventId(i64::MAX)).await?;
        turns.push(TurnJson::new(turn, blocks));
    }
    Ok(axum::Json(TurnList { turns, next: page.next.map(String::from) }))
}
