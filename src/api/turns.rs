//! Turns: ask for something, read the conversation.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Path, Query};
use super::jobs::{JobJson, accepted};
use super::list::PageQuery;
use crate::domain::{
    AppName, ChangeSize, EventId, FileState, JobId, Turn, TurnId, TurnMode, TurnState, Usage, VersionId, WorkspacePath,
};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::turns::TurnBlock;

/// What a user asks for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTurn {
    /// In plain language; at most 100,000 characters.
    #[schema(example = "Add a page with our opening hours")]
    prompt: String,
    /// `build` may change files; `discuss` reads and answers.
    #[serde(default)]
    #[schema(value_type = Option<TurnMode>, default = "build")]
    mode: TurnMode,
}

/// One message of the user, and all that the model did in answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Turn)]
pub struct TurnJson {
    /// For ever.
    #[schema(value_type = i64)]
    id: TurnId,
    /// Within its app, from 1.
    number: u32,
    /// What the user wrote.
    prompt: String,
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
    /// How much it changed.
    size: ChangeSize,
    /// Tokens and money.
    usage: Usage,
    /// Why it ended early, in a sentence.
    note: Option<String>,
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
        Self {
            id: turn.id,
            number: turn.number,
            prompt: turn.prompt,
            mode: turn.mode,
            state: turn.state,
            job: turn.job,
            version: turn.version,
            size: turn.size,
            usage: turn.usage,
            note: turn.note,
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
    let (_, job) = services.start_turn(&name, &new.prompt, new.mode).await?;
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
