//! Turns: start, list, and their steps.

use super::Services;
use super::attachments::{self, NewAttachment};
use crate::domain::{
    AnswerId, App, AppName, EventBody, EventId, Job, JobKind, JobState, NewTurn, Page, PageRequest, Turn, TurnBlock,
    TurnFold, TurnId, TurnMode, TurnOrigin, TurnState,
};
use crate::error::{AppError, AppResult};
use crate::events::EventScope;
use crate::jobs::briefing;
use crate::store::StoreError;

/// Maximum length of a prompt, in characters.
pub const PROMPT_MAX: usize = 100_000;
/// The message that the conversation shows for *Continue*.
const CONTINUE_PROMPT: &str = "Continue";

impl Services {
    /// Starts a turn with a user's message.
    pub async fn start_turn(&self, name: &AppName, prompt: &str, mode: TurnMode) -> AppResult<(Turn, Job)> {
        self.start(name, NewTurn::of_person(prompt, mode), Vec::new()).await
    }

    /// Starts a turn, with `files` in addition to its attachments. Turns of an app run one after the other. The prompt of an
    /// answer may be empty: then it is the text of the choice.
    pub async fn start(&self, name: &AppName, mut new: NewTurn, files: Vec<NewAttachment>) -> AppResult<(Turn, Job)> {
        attachments::check(&files)?;
        let app = self.app(name).await?;
        new.prompt = new.prompt.trim().replace("\r\n", "\n");
        if let (Some(answer), true) = (new.answer, new.prompt.is_empty()) {
            new.prompt = self.chosen_words(&app, answer).await?;
        }
        if new.prompt.is_empty() {
            return Err(AppError::invalid("Describe the change in a message."));
        }
        if new.prompt.chars().count() > PROMPT_MAX {
            return Err(AppError::invalid(format!("A message can have at most {PROMPT_MAX} characters.")));
        }
        if app.deleting {
            return Err(AppError::conflict("app_deleting", format!("“{name}” is being deleted.")));
        }
        let day = briefing::day_limit(&self.platform, app.id).await?;
        if day.left_usd <= 0.0 {
            return Err(AppError::conflict(
                "day_limit_reached",
                format!("“{name}” has reached its limit of ${:.2} for today.", day.usd),
            )
            .hint("Try again tomorrow (UTC), or raise SLIPWAY_APP_MAX_USD_PER_DAY."));
        }
        new.attachments.extend(self.keep_attachments(&app, files).await?);
        let (turn, job) = self.jobs.enqueue_turn(&app, new, self.author).await?;
        Ok((self.platform.store.turn(turn).await?, job))
    }

    /// The text of a choice. Queuing the turn checks whether its question is still open.
    async fn chosen_words(&self, app: &App, answer: AnswerId) -> AppResult<String> {
        let asker = match self.platform.store.turn_of(app.id, answer.turn).await {
            Err(StoreError::NotFound) => return Err(StoreError::QuestionClosed.into()),
            other => other?,
        };
        let words = asker.question.as_ref().and_then(|question| question.choice(answer.choice));
        Ok(words.ok_or(StoreError::QuestionClosed)?.to_owned())
    }

    /// Starts a turn like an earlier one, with the same message, evidence and files. A consent that the earlier one gave applies
    /// again only if no message was sent since.
    pub async fn repeat_turn(&self, name: &AppName, id: TurnId) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let turn = self.turn(&app, id).await?;
        let is_newest = self.newest_turn(&app).await?.is_some_and(|newest| newest.id == id);
        let new = NewTurn {
            origin: match turn.origin {
                // A user requests it now, so it gets its own limits.
                TurnOrigin::Repair(_) => TurnOrigin::Fix,
                TurnOrigin::Continue { .. } => TurnOrigin::Continue { of: id },
                origin @ (TurnOrigin::Person | TurnOrigin::Fix) => origin,
            },
            answer: turn.answer.filter(|_| is_newest),
            attachments: self.attachments_again(&app, &turn).await?,
            prompt: turn.prompt,
            mode: turn.mode,
            evidence: turn.evidence,
        };
        self.start(name, new, Vec::new()).await
    }

    /// Starts a turn that continues one that ended early: after an interruption, a stop, a failure or a reached limit.
    /// It resumes from the transcript and the files; if the transcript is empty, the turn starts again.
    pub async fn continue_turn(&self, name: &AppName, id: TurnId) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let newest = self.newest_turn(&app).await?.ok_or_else(|| AppError::not_found("turn of this number"))?;
        if newest.id != id {
            return Err(AppError::conflict("nothing_to_continue", "This is not the newest turn.")
                .hint("Describe the change in a message."));
        }
        if !newest.may_continue() {
            return Err(AppError::conflict("nothing_to_continue", "This turn cannot be continued."));
        }
        if !self.platform.store.has_messages(id).await? {
            return self.repeat_turn(name, id).await;
        }
        let origin = TurnOrigin::Continue { of: id };
        let new = NewTurn { origin, ..NewTurn::of_person(CONTINUE_PROMPT, newest.mode) };
        self.start(name, new, Vec::new()).await
    }

    /// A turn of an app.
    pub async fn turn(&self, app: &App, id: TurnId) -> AppResult<Turn> {
        self.platform.store.turn_of(app.id, id).await.map_err(|error| match error {
            StoreError::NotFound => AppError::not_found("turn of this number"),
            other => other.into(),
        })
    }

    /// The newest turn of an app that was not cancelled in the queue.
    pub async fn newest_turn(&self, app: &App) -> AppResult<Option<Turn>> {
        Ok(self.platform.store.newest_turn(app.id).await?)
    }

    /// The conversation, newest turn first.
    pub async fn turns(&self, app: &App, page: PageRequest) -> AppResult<Page<Turn>> {
        Ok(self.platform.store.turns(app.id, page).await?)
    }

    /// The turn of a job, if it has one.
    pub async fn turn_of_job(&self, job: &Job) -> AppResult<Option<Turn>> {
        Ok(self.platform.store.turn_of_job(job.id).await?)
    }

    /// The running turn of an app, if any.
    pub async fn running_turn(&self, app: &App) -> AppResult<Option<Turn>> {
        let open = self.platform.store.open_jobs(Some(app.id)).await?;
        let is_at_work = |job: &&Job| job.state == JobState::Running && matches!(job.kind, JobKind::Generate { .. });
        let Some(job) = open.iter().find(is_at_work) else { return Ok(None) };
        let turn = self.turn_of_job(job).await?;
        // A job starts a moment before its turn, and ends a moment after it.
        Ok(turn.filter(|turn| matches!(turn.state, TurnState::Queued | TurnState::Running)))
    }

    /// The blocks of a turn; while it runs, those up to and including the event `until`.
    pub async fn turn_blocks(&self, turn: &Turn, until: EventId) -> AppResult<Vec<TurnBlock>> {
        let has_ended = !matches!(turn.state, TurnState::Queued | TurnState::Running);
        if !has_ended {
            return Ok(self.turn_fold(turn, until).await?.into_blocks());
        }
        let kept = self.platform.store.turn_blocks(turn.id).await?;
        if !kept.is_empty() {
            return Ok(kept);
        }
        Ok(TurnBlock::of_ended(&self.turn_events(turn, until).await?))
    }

    /// The state of a running turn up to the event `until`.
    pub async fn turn_fold(&self, turn: &Turn, until: EventId) -> AppResult<TurnFold> {
        Ok(TurnFold::of(&self.turn_events(turn, until).await?))
    }

    async fn turn_events(&self, turn: &Turn, until: EventId) -> AppResult<Vec<EventBody>> {
        let Some(job) = turn.job else { return Ok(Vec::new()) };
        let mut after = EventId(0);
        let mut bodies = Vec::new();
        loop {
            let page = self.platform.store.events_between(EventScope::Job(job), after, until, 2000).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            bodies.extend(page.into_iter().map(|event| event.body));
        }
        Ok(bodies)
    }

    /// The answers of an ended turn without its steps, which a page shows initially.
    pub async fn turn_answers(&self, turn: &Turn) -> AppResult<Vec<TurnBlock>> {
        if let Some(answers) = self.platform.store.turn_answers(turn.id).await? {
            return Ok(answers);
        }
        let blocks = self.turn_blocks(turn, EventId(i64::MAX)).await?;
        Ok(blocks.into_iter().filter(|block| matches!(block, TurnBlock::Answer(_))).collect())
    }
}
