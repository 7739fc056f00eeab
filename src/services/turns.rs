//! Turns: ask, look back, and what a turn did, folded from its events.

use super::Services;
use super::attachments::{self, NewAttachment};
use crate::domain::{
    AnswerId, App, AppName, EventBody, EventId, FileState, Job, NewTurn, TakenBack, TextKind, Turn, TurnId, TurnMode,
    TurnOrigin, TurnState, WorkspacePath,
};
use crate::error::{AppError, AppResult};
use crate::events::EventScope;
use crate::generation::agent::NOTICE;
use crate::jobs::briefing;
use crate::store::{Page, PageRequest, StoreError};

/// Longest prompt, in characters.
pub const PROMPT_MAX: usize = 100_000;
/// Shown as the message of a person who pressed *Continue*.
const CONTINUE_PROMPT: &str = "Continue";

/// A part of what the model did in a turn, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnBlock {
    /// Words for the user, as Markdown.
    Answer(String),
    /// A summary of its thinking, as Markdown.
    Thought(String),
    /// A file that was written or deleted.
    File {
        /// Which.
        path: WorkspacePath,
        /// Where it stands.
        state: FileState,
        /// What was typed, if it was typed before our eyes.
        content: Option<String>,
    },
    /// Another tool.
    Tool {
        /// Its name.
        name: String,
        /// What it did, in one line.
        summary: String,
        /// Whether it did it.
        ok: bool,
    },
}

/// Folds events, in order, into what a turn did so far. A file whose writing came to nothing is none of
/// it, nor are the words of an answer that was taken back.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a EventBody>) -> Vec<TurnBlock> {
    let mut blocks: Vec<TurnBlock> = Vec::new();
    for event in events {
        match (event, blocks.last_mut()) {
            (EventBody::Text { delta, kind: TextKind::Answer }, Some(TurnBlock::Answer(text)))
            | (EventBody::Text { delta, kind: TextKind::Thought }, Some(TurnBlock::Thought(text))) => {
                text.push_str(delta);
            }
            (EventBody::Text { delta, kind }, _) => blocks.push(match kind {
                TextKind::Answer => TurnBlock::Answer(delta.clone()),
                TextKind::Thought => TurnBlock::Thought(delta.clone()),
            }),
            (EventBody::File { path, state, delta }, last) => {
                if let Some(TurnBlock::File { path: same, state: so_far, content }) = last
                    && same == path
                    && *so_far == FileState::Writing
                {
                    *so_far = *state;
                    if let Some(delta) = delta {
                        content.get_or_insert_default().push_str(delta);
                    }
                } else {
                    blocks.push(TurnBlock::File { path: path.clone(), state: *state, content: delta.clone() });
                }
            }
            (EventBody::Tool { name, summary, ok, taken_back }, _) => {
                if let Some(words) = taken_back {
                    take_back(&mut blocks, *words);
                } else if !ok && name != NOTICE {
                    drop_unwritten(&mut blocks);
                }
                blocks.push(TurnBlock::Tool { name: name.clone(), summary: summary.clone(), ok: *ok });
            }
            (
                EventBody::Job { .. } | EventBody::Log { .. } | EventBody::Environment { .. } | EventBody::Usage(_),
                _,
            ) => {}
        }
    }
    blocks
}

/// Takes the last words away, and the files that were being written among them.
fn take_back(blocks: &mut Vec<TurnBlock>, mut words: TakenBack) {
    while let Some(last) = blocks.last_mut() {
        let (text, left) = match last {
            TurnBlock::File { state: FileState::Writing, .. } => {
                blocks.pop();
                continue;
            }
            TurnBlock::Answer(text) => (text, &mut words.answer),
            TurnBlock::Thought(text) => (text, &mut words.thought),
            TurnBlock::File { .. } | TurnBlock::Tool { .. } => return,
        };
        let kept = text.len().saturating_sub(*left);
        *left -= text.len() - kept;
        if kept > 0 {
            text.truncate(text.floor_char_boundary(kept));
            return;
        }
        blocks.pop();
    }
}

/// Takes away what was never written to its end.
fn drop_unwritten(blocks: &mut Vec<TurnBlock>) {
    blocks.retain(|block| !matches!(block, TurnBlock::File { state: FileState::Writing, .. }));
}

impl Services {
    /// Asks the model for something, in a person's words.
    pub async fn start_turn(&self, name: &AppName, prompt: &str, mode: TurnMode) -> AppResult<(Turn, Job)> {
        self.start(name, NewTurn::of_person(prompt, mode), Vec::new()).await
    }

    /// Starts a turn, with `files` beside the attachments that it has. Turns of an app wait for each other. The prompt of an
    /// answer may be left empty: then it is the chosen words.
    pub async fn start(&self, name: &AppName, mut new: NewTurn, files: Vec<NewAttachment>) -> AppResult<(Turn, Job)> {
        attachments::check(&files)?;
        let app = self.app(name).await?;
        new.prompt = new.prompt.trim().replace("\r\n", "\n");
        if let (Some(answer), true) = (new.answer, new.prompt.is_empty()) {
            new.prompt = self.chosen_words(&app, answer).await?;
        }
        if new.prompt.is_empty() {
            return Err(AppError::invalid("Write what you would like to have."));
        }
        if new.prompt.chars().count() > PROMPT_MAX {
            return Err(AppError::invalid(format!("A message has at most {PROMPT_MAX} characters.")));
        }
        if app.deleting {
            return Err(AppError::conflict("app_deleting", format!("“{name}” is being deleted.")));
        }
        let day = briefing::day_limit(&self.platform, app.id).await?;
        if day.left_usd <= 0.0 {
            return Err(AppError::conflict(
                "day_limit_reached",
                format!("“{name}” has used its ${:.2} of today.", day.usd),
            )
            .hint("Go on tomorrow (UTC), or raise SLIPWAY_APP_MAX_USD_PER_DAY."));
        }
        new.attachments.extend(self.keep_attachments(&app, files).await?);
        let (turn, job) = self.jobs.enqueue_turn(&app, new).await?;
        Ok((self.platform.store.turn(turn).await?, job))
    }

    /// The words of a choice. Whether its question is still open is checked when the turn is queued.
    async fn chosen_words(&self, app: &App, answer: AnswerId) -> AppResult<String> {
        let asker = match self.platform.store.turn_of(app.id, answer.turn).await {
            Err(StoreError::NotFound) => return Err(StoreError::QuestionClosed.into()),
            other => other?,
        };
        let words = asker.question.as_ref().and_then(|question| question.choice(answer.choice));
        Ok(words.ok_or(StoreError::QuestionClosed)?.to_owned())
    }

    /// Starts a turn like an earlier one, with the same words, evidence and files. A consent that the earlier one gave counts
    /// again only while nothing else was asked since.
    pub async fn repeat_turn(&self, name: &AppName, id: TurnId) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let turn = self.turn(&app, id).await?;
        let is_newest = self.newest_turn(&app).await?.is_some_and(|newest| newest.id == id);
        let new = NewTurn {
            origin: match turn.origin {
                // A person asks for it now, and it gets limits of its own.
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

    /// Has the model go on with work that was cut short: an interruption, a stop, a failure, a cap.
    /// It goes on from what was said and written; a turn in which nothing was said is begun again.
    pub async fn continue_turn(&self, name: &AppName, id: TurnId) -> AppResult<(Turn, Job)> {
        let app = self.app(name).await?;
        let newest = self.newest_turn(&app).await?.ok_or_else(|| AppError::not_found("turn of this number"))?;
        if newest.id != id {
            return Err(AppError::conflict("nothing_to_continue", "Something else was asked since.")
                .hint("Describe in a message what you want."));
        }
        if !newest.may_continue() {
            return Err(AppError::conflict("nothing_to_continue", "This turn has nothing left to go on with."));
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

    /// The newest turn of an app that was not withdrawn.
    pub async fn newest_turn(&self, app: &App) -> AppResult<Option<Turn>> {
        Ok(self.platform.store.newest_turn(app.id).await?)
    }

    /// The conversation, newest turn first.
    pub async fn turns(&self, app: &App, page: PageRequest) -> AppResult<Page<Turn>> {
        Ok(self.platform.store.turns(app.id, page).await?)
    }

    /// The turn that a job runs, if it runs one.
    pub async fn turn_of_job(&self, job: &Job) -> AppResult<Option<Turn>> {
        Ok(self.platform.store.turn_of_job(job.id).await?)
    }

    /// What a turn did up to and with the event `until`.
    pub async fn turn_blocks(&self, turn: &Turn, until: EventId) -> AppResult<Vec<TurnBlock>> {
        let Some(job) = turn.job else { return Ok(Vec::new()) };
        let mut after = EventId(0);
        let mut bodies = Vec::new();
        loop {
            let page = self.platform.store.events_after(EventScope::Job(job), after, 2000).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let in_time = page.into_iter().take_while(|event| event.id <= until);
            bodies.extend(in_time.map(|event| event.body));
            if after >= until {
                break;
            }
        }
        let mut blocks = fold(&bodies);
        if !matches!(turn.state, TurnState::Queued | TurnState::Running) {
            drop_unwritten(&mut blocks);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_what_was_done() {
        let path: WorkspacePath = "a.txt".parse().expect("a path");
        let file =
            |state, delta: Option<&str>| EventBody::File { path: path.clone(), state, delta: delta.map(str::to_owned) };
        let text = |delta: &str, kind| EventBody::Text { delta: delta.to_owned(), kind };
        let blocks = fold(&[
            text("I ", TextKind::Answer),
            text("will.", TextKind::Answer),
            text("Hm.", TextKind::Thought),
            file(FileState::Writing, None),
            file(FileState::Writing, Some("x")),
            file(FileState::Writing, Some("y")),
            file(FileState::Written, None),
            file(FileState::Written, None),
            EventBody::tool("write_file", "Wrote a.txt", true),
        ]);
        assert_eq!(blocks.len(), 5);
        assert_eq!(blocks[0], TurnBlock::Answer("I will.".into()));
        assert_eq!(
            blocks[2],
            TurnBlock::File { path: path.clone(), state: FileState::Written, content: Some("xy".into()) }
        );
    }

    #[test]
    fn what_was_taken_back_or_never_written_is_none_of_it() {
        let file = |path: &str, state, delta: Option<&str>| EventBody::File {
            path: path.parse().expect("a path"),
            state,
            delta: delta.map(str::to_owned),
        };
        let text = |delta: &str| EventBody::Text { delta: delta.to_owned(), kind: TextKind::Answer };
        let thought = |delta: &str| EventBody::Text { delta: delta.to_owned(), kind: TextKind::Thought };
        let again = |answer, thought| EventBody::Tool {
            name: NOTICE.into(),
            summary: "Asking again.".into(),
            ok: false,
            taken_back: Some(TakenBack { answer, thought }),
        };
        let told = |events: &[EventBody]| {
            let blocks = fold(events);
            let told = blocks.iter().filter_map(|block| match block {
                TurnBlock::Answer(text) | TurnBlock::Thought(text) => Some(text.clone()),
                TurnBlock::File { path, state, .. } => Some(format!("{path} {state:?}")),
                TurnBlock::Tool { name, .. } => (name != NOTICE).then(|| name.clone()),
            });
            told.collect::<Vec<_>>()
        };
        // Words that were said before, in the same block, stay; the broken answer's go, however they came.
        let said = [
            text("First."),
            text("\n\nHäl"),
            thought("Hm"),
            text("f a "),
            file("b.txt", FileState::Writing, None),
            file("b.txt", FileState::Writing, Some("x")),
            again("\n\nHälf a ".len(), 2),
            text("\n\nWhole."),
        ];
        assert_eq!(told(&said), ["First.", "\n\nWhole."]);
        // Nothing but a file that was begun, after a tool of the answer before.
        let begun = [
            text("One."),
            EventBody::tool("search", "Searched", true),
            file("b.txt", FileState::Writing, Some("x")),
            again(0, 0),
            file("b.txt", FileState::Writing, Some("y")),
            file("b.txt", FileState::Written, None),
        ];
        assert_eq!(told(&begun), ["One.", "search", "b.txt Written"]);
        // A call that was not done leaves no file that is written for ever; a notice alone changes nothing.
        let cut = [
            file("a.txt", FileState::Written, None),
            file("b.txt", FileState::Writing, Some("x")),
            EventBody::tool(NOTICE, "The conversation is long.", false),
            text("And"),
            EventBody::tool("write_file", "write_file not done: stopped", false),
        ];
        assert_eq!(told(&cut[..3]), ["a.txt Written", "b.txt Writing"]);
        assert_eq!(told(&cut), ["a.txt Written", "And", "write_file"]);
    }
}
