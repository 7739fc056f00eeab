//! Turns: send a message, read the conversation.

use axum::Extension;
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
    ModelId, Principal, Question, QuestionKind, Repair, Turn, TurnBlock, TurnId, TurnMode, TurnState, Usage, VersionId,
    WorkspacePath,
};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::attachments::{BYTES_MAX, NewAttachment};
use crate::services::turns::PROMPT_MAX;

/// Maximum size of the body in bytes: base64 makes files a third larger, and the message adds its characters.
pub const BODY_MAX: usize = BYTES_MAX / 3 * 4 + 4 * PROMPT_MAX + 1024 * 1024;

/// Request to start a turn.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTurn {
    /// The message in plain language; at most 100,000 characters. Optional with `answer_id`.
    #[serde(default)]
    #[schema(example = "Add a page with our opening hours")]
    prompt: String,
    /// The id of the answer to the newest turn's question, one of its `answers`. Only this field can allow a rewrite (a
    /// question of the kind `rewrite`), regardless of `prompt`. 409 `question_closed` if the question was already answered or
    /// another message was sent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "17-1")]
    answer_id: Option<AnswerId>,
    /// `build` may change files; `discuss` only reads and answers.
    #[serde(default)]
    #[schema(value_type = Option<TurnMode>, default = "build")]
    mode: TurnMode,
    /// Images (PNG, JPEG, WebP, GIF) and text files for the model: at most 8, with 16 MB together;
    /// an image has at most 3.7 MB and 8,000 pixels on each side, a text 256 KiB.
    #[serde(default)]
    #[schema(value_type = Option<Vec<NewAttachmentJson>>)]
    attachments: Vec<NewAttachmentJson>,
}

/// An attachment. Its type is detected from its bytes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAttachment)]
pub struct NewAttachmentJson {
    /// Its file name.
    #[schema(example = "sketch.png")]
    name: String,
    /// Its bytes in base64.
    #[schema(format = Byte)]
    data: String,
}

impl NewAttachmentJson {
    fn decode(self) -> AppResult<NewAttachment> {
        let bytes = STANDARD.decode(self.data.trim()).map_err(|error| {
            AppError::invalid(format!(
                "“data” of the attachment “{}” is not valid base64: {error}.",
                file_name(&self.name)
            ))
        })?;
        Ok(NewAttachment { name: self.name, bytes })
    }
}

/// An attachment of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = Attachment)]
pub struct AttachmentJson {
    /// The SHA-256 of its bytes, which identifies it.
    #[schema(value_type = String)]
    id: AttachmentId,
    /// Its file name.
    name: String,
    /// Its media type.
    kind: AttachmentKind,
    /// Its size in bytes.
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

/// A turn: a user's message and everything that the model did in response.
#[derive(Serialize, ToSchema)]
#[schema(as = Turn)]
pub struct TurnJson {
    /// Unique id; never reused.
    #[schema(value_type = i64)]
    id: TurnId,
    /// Number within its app, from 1.
    number: u32,
    /// The user's message, or a fixed sentence of Slipway: see `origin`.
    prompt: String,
    /// Why the turn started: `person` (a user's message), `continue` (*Continue*), `repair` (a preview failed), `fix` (a
    /// user requested a fix of a failed deployment or of browser errors).
    #[schema(value_type = String, example = "person")]
    origin: &'static str,
    /// The printed output that shows the failure.
    evidence: Option<Evidence>,
    /// The id of the answer to a question.
    #[schema(value_type = Option<String>, example = "17-1")]
    answer_id: Option<AnswerId>,
    /// The attachments.
    attachments: Vec<AttachmentJson>,
    /// Whether the model may change files.
    mode: TurnMode,
    /// Its state.
    state: TurnState,
    /// The job that runs it.
    #[schema(value_type = Option<i64>)]
    job: Option<JobId>,
    /// The version that it created, if it changed files.
    #[schema(value_type = Option<String>)]
    version: Option<VersionId>,
    /// The model that answered; null before the turn started.
    #[schema(value_type = Option<String>)]
    model: Option<ModelId>,
    /// Number of changed files and lines.
    size: ChangeSize,
    /// Tokens and money.
    usage: Usage,
    /// Why it ended early, in a sentence.
    note: Option<String>,
    /// The turn that it repairs, if its origin is `repair`.
    repair: Option<Repair>,
    /// Why it ended early, as a code: `asked`, `stopped`, `withdrawn`, `interrupted`, `same_error`, `cap_steps`, `cap_files`,
    /// `cap_file_bytes`, `cap_tokens`, `cap_cost`, `cap_wall_time`, `cap_day`, or the code of an error.
    reason: Option<String>,
    /// The model's question; the answer is the next turn's prompt, or one of its `answers`.
    question: Option<QuestionJson>,
    /// Whether the turn can be continued.
    may_continue: bool,
    /// When it was sent.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the model started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The model's answer, as Markdown.
    answer: String,
    /// The steps, in order.
    steps: Vec<TurnStep>,
}

/// A question of the model to the user.
#[derive(Serialize, ToSchema)]
#[schema(as = Question)]
pub struct QuestionJson {
    /// The question, in one or two sentences.
    text: String,
    /// The texts of the suggested answers; a message with another answer is possible too.
    choices: Vec<String>,
    /// The suggested answers with their ids.
    answers: Vec<AnswerJson>,
    /// The kind of question.
    about: QuestionKind,
}

/// A suggested answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerJson {
    /// Send it as `answer_id` with the next turn.
    #[schema(value_type = String, example = "17-1")]
    id: AnswerId,
    /// Its text.
    text: String,
}

impl QuestionJson {
    fn new(turn: TurnId, question: Question) -> Self {
        let numbered = (1..).zip(&question.choices);
        let answers = numbered.map(|(choice, text)| AnswerJson { id: AnswerId { turn, choice }, text: text.clone() });
        Self { text: question.text, answers: answers.collect(), about: question.about, choices: question.choices }
    }
}

/// A step of a turn.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TurnStep {
    /// Text of the answer.
    Text {
        /// The text, as Markdown.
        text: String,
    },
    /// A summary of the model's thinking.
    Thought {
        /// The text, as Markdown.
        text: String,
    },
    /// A file was written or deleted.
    File {
        /// Its path.
        #[schema(value_type = String)]
        path: WorkspacePath,
        /// Its state: `writing`, `written` or `deleted`.
        #[schema(value_type = String)]
        state: FileState,
    },
    /// Another tool was used.
    Tool {
        /// Its name.
        name: String,
        /// A summary in one line.
        summary: String,
        /// Whether it succeeded.
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
    /// Newest first.
    turns: Vec<TurnJson>,
    /// Cursor of the next page; null on the last page.
    next: Option<String>,
}

/// Start a turn.
///
/// Turns of an app run one after the other. The job's events contain the model's text while it is written.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/turns", tag = "Turns", params(("app" = String, Path, description = "The app's name.")),
    request_body = NewTurn,
    responses((status = 202, description = "The job that runs it.", body = JobJson)),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<AppName>,
    Json(new): Json<NewTurn>,
) -> AppResult<Response> {
    let files = new.attachments.into_iter().map(NewAttachmentJson::decode).collect::<AppResult<Vec<_>>>()?;
    let turn = domain::NewTurn { answer: new.answer_id, ..domain::NewTurn::of_person(new.prompt, new.mode) };
    let (_, job) = services.by(&principal).start(&name, turn, files).await?;
    Ok(accepted(job))
}

/// Download an attachment.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/attachments/{id}", tag = "Turns",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("id" = String, Path, description = "The attachment's id."),
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

/// Continue a turn that ended early.
///
/// Resumes the newest turn after an interruption, a stop, a failure or a reached limit. Its text and
/// files stay; no step is repeated. 409 `nothing_to_continue` otherwise.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/turns/{turn}/continue", tag = "Turns",
    params(
        ("app" = String, Path, description = "The app's name."),
        ("turn" = i64, Path, description = "The turn's id."),
    ),
    responses((status = 202, description = "The job of the new turn.", body = JobJson)),
)]
pub async fn resume(
    State(services): State<Services>,
    Extension(principal): Extension<Principal>,
    Path((name, turn)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    let (_, job) = services.by(&principal).continue_turn(&name, TurnId(turn)).await?;
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
