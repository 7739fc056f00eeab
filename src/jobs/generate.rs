//! The job that runs a turn: runs the model with its tools, and commits its changes as one version.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::briefing;
use super::context::{Failure, JobContext};
use super::follow;
use super::record::until_recorded;
use super::tool_host::{TurnEvents, WorkspaceHost};
use crate::domain::{
    App, AppName, ChangeSize, Effort, Evidence, FileChange, INTERRUPTED, JobError, JobResult, ModelId, Question,
    Redaction, Turn, TurnId, TurnOrigin, TurnState, Version, VersionKind, VersionTitle,
};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::generation::prompts::{self, PromptFacts};
use crate::generation::wire::ContentBlock;
use crate::generation::{
    Images, Message, TurnEnd, TurnError, TurnInput, TurnLimits, TurnOutcome, WireFormat, attached, history, opening,
    run_turn,
};
use crate::model_choice::{Model, Tested};
use crate::platform::Platform;
use crate::store::messages::KeptMessage;
use crate::store::turns::TurnEnding;
use crate::workspace::CommitNote;

/// Maximum number of tokens of one answer, with its thinking.
const ANSWER_TOKENS: u32 = 32_000;
/// Maximum number of images of a conversation that are sent, the newest ones, and of their bytes: providers accept no
/// more in one request.
const IMAGES: usize = 20;
const IMAGES_BYTES: usize = 16_000_000;

/// Maximum number of files that the card of a version lists.
const FILES_SHOWN: usize = 8;

/// Runs a turn. In every case the written files become a version, and the turn records how it ended.
pub async fn run(context: &JobContext, id: TurnId) -> Result<JobResult, Failure> {
    let platform = &context.platform;
    let app = context.app().await?;
    // This model is used for the whole turn, even if another key is added meanwhile.
    let answering = platform.model();
    let (model, effort) = answering.of(&app);
    platform.store.begin_turn(id, app.head.clone(), model.clone(), platform.clock.now()).await?;
    let turn = platform.store.turn(id).await?;
    let stopping = platform.lifecycle.draining.clone();
    // A stop of the builder ends the turn like a stop by the user, but the turn records this reason.
    let cancel = context.cancel.child_token();
    let work = async {
        let input = input(platform, &app, &turn, &answering, (model, effort)).await?;
        let mut host = WorkspaceHost {
            context,
            platform: platform.clone(),
            template: platform.template(&app)?.clone(),
            app: app.clone(),
        };
        let mut sink = TurnEvents { context, turn: id, usage: turn.usage };
        let mut work = std::pin::pin!(run_turn(&answering.client, &input, &mut host, &mut sink, &cancel));
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            () = stopping.cancelled() => {
                cancel.cancel();
                work.await
            }
        };
        note_outcome(&answering, &outcome, platform.clock.now());
        platform.store.set_turn_usage(id, outcome.usage).await?;
        briefing::keep_compaction(platform, &turn, outcome.compaction).await?;
        platform.store.set_repairs(turn.shares_limits_with(), outcome.repairs.clone()).await?;
        Ok::<_, AppError>(outcome)
    };
    // Files that were written before an internal error are kept as well.
    let ended = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(turn = id.0, app = %app.name, "turn panicked");
        Err(AppError::new(ErrorKind::Internal, "internal", "Something went wrong inside Slipway in this turn."))
    });
    // The written files are committed first, before another step can fail.
    let title = ended.as_ref().ok().and_then(|outcome| outcome.title.clone());
    let version = commit(platform, &app, &turn, title).await;
    let (closing, failure) = match ended {
        Err(error) => (
            Closing { note: Some(error.detail.clone()), ..Closing::new(TurnState::Failed, Some(error.code)) },
            Some(Failure::from(error)),
        ),
        Ok(outcome) => close(outcome, context.cancel.is_cancelled(), answering.client.format(), platform.clock.now()),
    };
    let (version, closing, failure) = match version {
        Ok(version) => (version, closing, failure),
        // The work tree keeps the changes, so the next version contains them.
        Err(error) => {
            tracing::warn!(turn = id.0, app = %app.name, code = error.code, "failed to commit a turn's files");
            let detail = format!("The changes could not be saved as a version: {}", error.detail);
            let closing = Closing { note: Some(detail.clone()), ..Closing::new(TurnState::Failed, Some(error.code)) };
            (None, closing, Some(Failure::from(AppError { detail, ..error })))
        }
    };
    let result = JobResult { version: version.as_ref().map(|version| version.id.clone()), ..JobResult::default() };
    end(platform, &app.name, id, closing, version.as_ref()).await?;
    failure.map_or(Ok(result), Err)
}

/// A turn also tests the connection to the model: the health page shows its result.
fn note_outcome(answering: &Model, outcome: &TurnOutcome, at: jiff::Timestamp) {
    let met = match &outcome.end {
        TurnEnd::Failed(TurnError::Model(error)) => Err(error.clone()),
        _ if outcome.usage.output_tokens > 0 => Ok(()),
        _ => return,
    };
    answering.was_asked(Tested { at, by_turn: true, outcome: met });
}

/// How a turn is closed.
struct Closing {
    state: TurnState,
    note: Option<String>,
    reason: Option<String>,
    question: Option<Question>,
    failed_edits: u32,
}

impl Closing {
    fn new(state: TurnState, reason: Option<&str>) -> Self {
        Self { state, note: None, reason: reason.map(str::to_owned), question: None, failed_edits: 0 }
    }
}

/// How the turn and its job are closed, given the turn's outcome. A stop that the user did not request comes from the
/// builder.
fn close(
    outcome: TurnOutcome,
    asked_for: bool,
    format: WireFormat,
    now: jiff::Timestamp,
) -> (Closing, Option<Failure>) {
    let reason = outcome.end.reason();
    let closing = |state| Closing {
        state,
        note: outcome.note.clone(),
        reason: reason.clone(),
        question: None,
        failed_edits: outcome.failed_edits,
    };
    match outcome.end {
        TurnEnd::Done | TurnEnd::Cap(_) => (closing(TurnState::Done), None),
        TurnEnd::Asked(question) => (Closing { question: Some(question), ..closing(TurnState::Done) }, None),
        TurnEnd::Loop { end, ref sentence } => {
            let failure = Failure::failed(end.code(), sentence.clone());
            (closing(TurnState::Failed), Some(failure.hint("Rephrase the message, or restore an earlier version.")))
        }
        TurnEnd::Stopped if !asked_for => (
            Closing {
                note: Some("Slipway was stopped during this turn. Changes so far are saved.".to_owned()),
                ..Closing::new(TurnState::Interrupted, Some(INTERRUPTED))
            },
            Some(
                Failure::failed(INTERRUPTED, "Slipway was stopped during this turn.")
                    .hint("Press Continue to resume from here."),
            ),
        ),
        TurnEnd::Stopped => (closing(TurnState::Stopped), Some(Failure::Cancelled)),
        TurnEnd::Failed(ref error) => (
            Closing { note: Some(told(error, now)), ..closing(TurnState::Failed) },
            Some(Failure::Failed(JobError {
                code: error.code().to_owned(),
                message: told(error, now),
                hint: Some(error.hint(format)),
                lines: Vec::new(),
            })),
        ),
    }
}

/// The reason, and the time until which the provider refuses requests, if it reports one.
fn told(error: &TurnError, now: jiff::Timestamp) -> String {
    let TurnError::Model(model) = error else { return error.message() };
    match model.retry_after().and_then(|wait| until(now, wait)) {
        Some(until) => format!("{} It accepts requests again at {until}.", error.message()),
        None => error.message(),
    }
}

/// The time at which a wait ends, rounded up to a minute, with the date if it is on another day.
fn until(now: jiff::Timestamp, wait: Duration) -> Option<String> {
    let seconds = now.as_second().checked_add(i64::try_from(wait.as_secs()).ok()?)?;
    let at = jiff::Timestamp::from_second(seconds.checked_add(59)? / 60 * 60).ok()?;
    let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
    let format = if day(at) == day(now) { "%H:%M UTC" } else { "%H:%M UTC on %Y-%m-%d" };
    Some(at.strftime(format).to_string())
}

async fn input(
    platform: &Arc<Platform>,
    app: &App,
    turn: &Turn,
    answering: &Model,
    (model, effort): (ModelId, Option<Effort>),
) -> AppResult<TurnInput> {
    let template = platform.template(app)?;
    let secrets: Vec<String> = platform.secrets(app, crate::domain::Environment::Preview).await?.into_keys().collect();
    let facts =
        PromptFacts { app_name: &app.name, template: &app.template, manifest: &template.manifest, secrets: &secrets };
    let system = prompts::system(&facts, template.prompt.as_deref()).map_err(|error| AppError::internal(&error))?;
    let redaction = platform.redaction(app).await?;
    let kept = platform.store.messages_before(app.id, turn.id).await?;
    let history = history::join_parts(kept.into_iter().filter_map(|kept| message(kept, &redaction)));
    let (attachments, images) = attached(platform, app, turn).await?;
    let table = answering.table_for(&model).await;
    let briefing = briefing::brief(platform, app, turn).await?;
    Ok(TurnInput {
        system,
        history,
        origin: turn.origin,
        prompt: redaction.text(&turn.prompt).into_owned(),
        evidence: turn.evidence.clone().map(|evidence| Evidence { text: redaction.string(evidence.text), ..evidence }),
        attached: opening::names(&turn.attachments),
        attachments,
        images,
        notes: redaction.lines(briefing.notes),
        compaction: briefing.compaction,
        threshold: table.compaction(model.as_str()),
        may_rewrite: briefing.may_rewrite,
        mode: turn.mode,
        model: model.into(),
        models: table,
        max_tokens: ANSWER_TOKENS,
        effort,
        limits: TurnLimits { day: Some(briefing.day), ..follow::limits(platform) },
        spent: follow::spent_before(platform, turn).await?,
        repairs: platform.store.repairs(turn.shares_limits_with()).await?,
    })
}

/// A stored message, with the facts about the turn that it begins; none if the message cannot be read.
fn message(kept: KeptMessage, redaction: &Redaction) -> Option<Message> {
    let message = serde_json::from_str::<Message>(&kept.json).ok()?;
    let start = kept
        .start
        .map(|start| opening::start(start.origin, &redaction.string(start.prompt), opening::names(&start.attachments)));
    Some(Message { start, ..message })
}

/// The attachments of the message as the model receives them, and the newest images of the conversation, as many as fit
/// into one request. A removed attachment is replaced by a note.
async fn attached(platform: &Arc<Platform>, app: &App, turn: &Turn) -> AppResult<(Vec<ContentBlock>, Images)> {
    let all = platform.store.attachments_until(app.id, turn.id).await?;
    let (uploads, id, own) = (platform.uploads.clone(), app.id, turn.attachments.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut room = IMAGES_BYTES;
        let mut images = Vec::new();
        for attachment in all.iter().filter(|attachment| attachment.kind.is_image()).take(IMAGES) {
            let Some(bytes) = uploads.read(id, &attachment.id)? else { continue };
            let Some(left) = room.checked_sub(bytes.len()) else { break };
            room = left;
            images.push((attachment.id.to_string(), bytes));
        }
        let mut blocks = Vec::with_capacity(own.len());
        for attachment in &own {
            if attachment.kind.is_image() {
                blocks.push(attached::image(attachment));
            } else if let Some(bytes) = uploads.read(id, &attachment.id)? {
                blocks.push(attached::text(attachment, &String::from_utf8_lossy(&bytes)));
            } else {
                blocks.push(attached::missing(attachment));
            }
        }
        Ok::<_, std::io::Error>((blocks, images.into_iter().collect()))
    });
    read.await.map_err(|error| AppError::internal(&error))?.map_err(|error| AppError::internal(&error))
}

/// Commits all changes of the turn; none if it changed nothing. `title` is the title that the model gave.
async fn commit(
    platform: &Platform,
    app: &App,
    turn: &Turn,
    title: Option<VersionTitle>,
) -> AppResult<Option<Version>> {
    let title = match title {
        Some(title) => title.to_string(),
        None => default_title(platform, turn).await?,
    };
    let redaction = platform.redaction(app).await?;
    let note = CommitNote {
        title: redaction.text(&title).into_owned(),
        body: redaction.text(&turn.prompt).into_owned(),
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

/// The title of a version for which the model gave no title.
async fn default_title(platform: &Platform, turn: &Turn) -> AppResult<String> {
    let message = match turn.origin {
        TurnOrigin::Person => turn.prompt.clone(),
        TurnOrigin::Continue { of } => platform.store.turn(of).await?.prompt,
        TurnOrigin::Repair(_) => "Fix of the failed preview".to_owned(),
        TurnOrigin::Fix => "Fix of the reported error".to_owned(),
    };
    Ok(VersionTitle::of_message(&message).map_or_else(String::new, |title| title.to_string()))
}

async fn end(
    platform: &Platform,
    app: &AppName,
    id: TurnId,
    closing: Closing,
    version: Option<&Version>,
) -> AppResult<()> {
    let note = if closing.state == TurnState::Stopped { Some(stopped(version)) } else { closing.note };
    let changes = match version {
        Some(version) => changes(platform, app, id, version).await,
        None => Vec::new(),
    };
    let ending = TurnEnding {
        changes,
        state: closing.state,
        version: version.map(|version| version.id.clone()),
        size: version.map_or_else(ChangeSize::default, |version| version.size),
        failed_edits: closing.failed_edits,
        note,
        reason: closing.reason,
        question: closing.question,
    };
    let at = platform.clock.now();
    let record = || platform.store.end_turn(id, ending.clone(), at);
    Ok(until_recorded(&platform.lifecycle.draining, "the end of a turn", record).await?)
}

/// The first files that a version changed; none if the comparison takes too long.
async fn changes(platform: &Platform, app: &AppName, turn: TurnId, version: &Version) -> Vec<FileChange> {
    let read = async {
        let id = version.id.clone();
        platform.read_workspace(app, move |workspace| workspace.file_diffs(&id)).await
    };
    match read.await {
        Ok(files) => {
            let change = |file: crate::workspace::FileDiff| FileChange {
                path: file.path.to_string(),
                additions: file.additions,
                deletions: file.deletions,
            };
            files.into_iter().take(FILES_SHOWN).map(change).collect()
        }
        Err(error) => {
            tracing::warn!(turn = turn.0, %error, "failed to compare a version; its card shows the totals only");
            Vec::new()
        }
    }
}

/// The error of a turn that its user has stopped.
fn stopped(version: Option<&Version>) -> String {
    match version {
        Some(version) => format!("You stopped this. Changes so far are saved as version {}.", version.number),
        None => "You stopped this. Nothing had changed yet.".to_owned(),
    }
}

/// The result of the job of an ended turn; none while the turn runs.
pub fn outcome_of(turn: &Turn) -> Option<Result<JobResult, Failure>> {
    let failed = || {
        let code = turn.reason.as_deref().unwrap_or("internal");
        Failure::failed(code, turn.note.clone().unwrap_or_else(|| "This turn failed.".to_owned()))
            .hint("Press Continue to resume from here.")
    };
    match turn.state {
        TurnState::Queued | TurnState::Running => None,
        TurnState::Done => Some(Ok(JobResult { version: turn.version.clone(), ..JobResult::default() })),
        TurnState::Stopped => Some(Err(Failure::Cancelled)),
        TurnState::Failed | TurnState::Interrupted => Some(Err(failed())),
    }
}

/// Closes a turn whose builder process died: its files become a version, and the turn records the interruption.
pub async fn end_interrupted(platform: &Platform, app: &App, id: TurnId) -> AppResult<()> {
    let turn = platform.store.turn(id).await?;
    let version = commit(platform, app, &turn, None).await.unwrap_or_else(|error| {
        // The work tree keeps the changes, so the next version contains them.
        tracing::warn!(app = %app.name, turn = id.0, %error, "failed to commit an interrupted turn's files");
        None
    });
    let note = Some("Slipway restarted during this turn. Changes so far are saved.".to_owned());
    let closing = Closing { note, ..Closing::new(TurnState::Interrupted, Some(INTERRUPTED)) };
    end(platform, &app.name, id, closing, version.as_ref()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::ModelError;

    #[test]
    fn a_rate_limit_says_until_when() {
        let now = "2026-11-20T14:42:10Z".parse().expect("a time");
        let limited = |seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            told(&TurnError::Model(ModelError::RateLimited { retry_after }), now)
        };
        let words = "The provider's rate limit for this API key is reached.";
        assert_eq!(limited(Some(900)), format!("{words} It accepts requests again at 14:58 UTC."));
        assert_eq!(limited(Some(86_400)), format!("{words} It accepts requests again at 14:43 UTC on 2026-11-21."));
        assert_eq!(limited(None), words);
        assert_eq!(limited(Some(u64::MAX)), words, "a wait beyond all times is not said");
    }
}
