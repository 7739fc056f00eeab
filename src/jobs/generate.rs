//! The job that runs a turn: asks the model, lets it work, and makes one version of what it did.

use std::sync::Arc;

use super::context::{Failure, JobContext};
use super::tool_host::{TurnEvents, WorkspaceHost};
use crate::domain::{App, ChangeSize, JobError, JobResult, Turn, TurnId, TurnState, Version, VersionKind};
use crate::error::{AppError, AppResult};
use crate::generation::prompts::{self, PromptFacts};
use crate::generation::{Message, TurnEnd, TurnInput, TurnLimits, run_turn};
use crate::platform::Platform;
use crate::store::turns::TurnEnding;
use crate::workspace::CommitNote;

/// Most tokens of one answer, thinking included.
const ANSWER_TOKENS: u32 = 32_000;
/// Bytes of one file that the model may write, and how many different ones in a turn.
const FILE_BYTES: usize = 512 * 1024;
const FILES: usize = 80;

/// Runs a turn. Whatever its end, what was written stays as a version.
pub async fn run(context: &JobContext, id: TurnId) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let app = context.app().await?;
    platform.store.begin_turn(id, platform.clock.now()).await?;
    let turn = platform.store.turn(id).await?;
    let stopping = platform.lifecycle.draining.clone();
    // A stop of the builder ends the turn as a stop by the user does, but it says so.
    let cancel = context.cancel.child_token();
    let ended = async {
        let input = input(platform, &app, &turn).await?;
        let mut host =
            WorkspaceHost { platform: platform.clone(), template: platform.template(&app)?.clone(), app: app.clone() };
        let mut sink = TurnEvents { context, turn: id, usage: turn.usage };
        let mut work = std::pin::pin!(run_turn(&platform.model.client, &input, &mut host, &mut sink, &cancel));
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            () = stopping.cancelled() => {
                cancel.cancel();
                work.await
            }
        };
        platform.store.set_turn_usage(id, outcome.usage).await?;
        let messages = outcome
            .messages
            .iter()
            .map(|message| serde_json::to_string(message).expect("a message came from JSON and goes back to it"));
        platform.store.keep_messages(id, messages.collect()).await?;
        Ok::<_, AppError>(outcome)
    }
    .await;
    // Before anything else can fail: what was written is kept.
    let version = commit(platform, &app, &turn).await;
    let (state, note, failure) = match ended {
        Err(error) => (TurnState::Failed, Some(error.detail.clone()), Some(Failure::from(error))),
        Ok(outcome) => match outcome.end {
            TurnEnd::Done | TurnEnd::Cap(_) => (TurnState::Done, outcome.note, None),
            TurnEnd::Stopped if !context.cancel.is_cancelled() => (
                TurnState::Interrupted,
                Some("Slipway was stopped in the middle of this turn. What was written is kept.".to_owned()),
                Some(
                    Failure::failed("interrupted", "Slipway was stopped in the middle of this turn.")
                        .hint("Send another message to go on from here."),
                ),
            ),
            TurnEnd::Stopped => (TurnState::Stopped, outcome.note, Some(Failure::Cancelled)),
            TurnEnd::Failed(error) => (
                TurnState::Failed,
                outcome.note.or_else(|| Some(error.message())),
                Some(Failure::Failed(JobError {
                    code: error.code().to_owned(),
                    message: error.message(),
                    hint: Some(error.hint()),
                    lines: Vec::new(),
                })),
            ),
        },
    };
    let version = version?;
    end(platform, id, state, version.as_ref(), note).await?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(JobResult { version: version.map(|version| version.id), ..JobResult::default() }),
    }
}

async fn input(platform: &Arc<Platform>, app: &App, turn: &Turn) -> AppResult<TurnInput> {
    let template = platform.template(app)?;
    let secrets: Vec<String> = platform.secrets(app, crate::domain::Environment::Preview).await?.into_keys().collect();
    let facts =
        PromptFacts { app_name: &app.name, template: &app.template, manifest: &template.manifest, secrets: &secrets };
    let system = prompts::system(&facts, template.prompt.as_deref()).map_err(|error| AppError::internal(&error))?;
    let history = platform
        .store
        .messages_before(app.id, turn.id)
        .await?
        .iter()
        .filter_map(|text| serde_json::from_str::<Message>(text).ok())
        .collect();
    let caps = platform.config.turn_caps;
    Ok(TurnInput {
        system,
        history,
        prompt: turn.prompt.clone(),
        mode: turn.mode,
        model: platform.model.id.clone(),
        max_tokens: ANSWER_TOKENS,
        effort: None,
        limits: TurnLimits {
            steps: caps.steps,
            files: FILES,
            file_bytes: FILE_BYTES,
            tokens: caps.tokens,
            cost_usd: caps.usd,
            wall_time: caps.time,
        },
    })
}

/// One commit of everything that the turn changed; none if it changed nothing.
async fn commit(platform: &Platform, app: &App, turn: &Turn) -> AppResult<Option<Version>> {
    let note = CommitNote {
        title: turn.prompt.clone(),
        body: turn.prompt.clone(),
        kind: VersionKind::Turn,
        turn: Some(turn.id),
        at: platform.clock.now(),
    };
    let made = platform.change_workspace(app.id, &app.name, move |workspace| workspace.commit_all(&note)).await?;
    platform.record_versions(app.id, &app.name).await?;
    match made {
        None => Ok(None),
        Some(commit) => Ok(Some(platform.store.version(app.id, &commit.id).await?)),
    }
}

async fn end(
    platform: &Platform,
    id: TurnId,
    state: TurnState,
    version: Option<&Version>,
    note: Option<String>,
) -> AppResult<()> {
    let ending = TurnEnding {
        state,
        version: version.map(|version| version.id.clone()),
        size: version.map_or_else(ChangeSize::default, |version| version.size),
        note,
    };
    Ok(platform.store.end_turn(id, ending, platform.clock.now()).await?)
}

/// A turn that was withdrawn before it began.
pub async fn end_unstarted(platform: &Platform, id: TurnId) -> AppResult<()> {
    end(platform, id, TurnState::Stopped, None, Some("Stopped before it began.".to_owned())).await
}

/// A turn whose builder died: what it wrote becomes a version, and the turn says what happened.
pub async fn end_interrupted(platform: &Platform, app: &App, id: TurnId) -> AppResult<()> {
    let turn = platform.store.turn(id).await?;
    let version = commit(platform, app, &turn).await?;
    let note = "Slipway went away in the middle of this turn. What was written is kept; send another message to go on.";
    end(platform, id, TurnState::Interrupted, version.as_ref(), Some(note.to_owned())).await
}
