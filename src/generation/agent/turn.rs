//! The loop of one turn, and the state that it carries.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{Results, explain_invalid_input, unanswered};
use super::input::TurnInput;
use super::length::Length;
use super::outcome::{TurnEnd, TurnError, TurnOutcome};
use super::repeats::{RepeatGuard, RepeatVerdict};
use super::transcript::Transcript;
use super::typing::TypedFile;
use crate::domain::{
    EventBody, FileState, NOTICE, Question, TakenBack, TextKind, TurnMode, Usage, VersionTitle, WorkspacePath,
};
use crate::generation::answer_stream::AnswerStream;
use crate::generation::client::ModelClient;
use crate::generation::compact;
use crate::generation::error::ModelError;
use crate::generation::history;
use crate::generation::limits::{Cap, Spent, TurnLimits};
use crate::generation::notes::ANSWER_CUT_NOTE;
use crate::generation::opening::Opening;
use crate::generation::outcome::{ToolOutcome, ToolStop, not_done};
use crate::generation::ports::{HostError, ToolHost, TurnSink};
use crate::generation::retry::Attempts;
use crate::generation::rewrite::Rewrites;
use crate::generation::toolbox::{self, Bounds};
use crate::generation::tools::{self, ToolCall};
use crate::generation::wire::{
    AnswerBlock, ContentBlock, Images, Message, RawCall, Request, StopReason, StreamItem, WireUsage,
};

/// Maximum number of consecutive answers that are truncated or unreadable, and add nothing.
const CUT_MAX: u32 = 3;
/// The result of a call that follows a question in the same answer.
const QUESTION_OPEN: &str =
    "This was not done: a question to the person is open, and your turn ends with it. Go on after their answer.";
/// Minimum length limit of an answer in tokens, even if the turn has fewer left.
const ANSWER_TOKENS_MIN: u32 = 1024;

/// A running turn.
pub struct Run<'a, H, S> {
    client: &'a ModelClient,
    input: &'a TurnInput,
    host: &'a mut H,
    sink: &'a mut S,
    cancel: &'a CancellationToken,
    deadline: Instant,
    /// The messages that this turn has added to the conversation.
    transcript: Transcript,
    /// Usage of finished attempts.
    used: WireUsage,
    files: BTreeMap<WorkspacePath, FileState>,
    steps: u32,
    /// Number of calls that change files and were refused.
    failed_edits: u32,
    /// The number of the attempt in the turn, which makes block ids unique.
    attempt: u32,
    /// For answers and thinking: the block that was shown last.
    spoken: [Option<(u32, usize)>; 2],
    /// The lengths of the text that this attempt has shown.
    said: TakenBack,
    /// The files before the turn; read before its first change.
    rewrites: Option<Rewrites>,
    repeats: RepeatGuard,
    /// The model's question.
    asked: Option<Question>,
    /// The model's title for the version.
    title: Option<VersionTitle>,
    length: Length,
    /// The provider rejected images, so none are sent.
    blind: bool,
}

/// How reading an answer ended.
enum Heard {
    /// The model stopped.
    Answer(StopReason),
    /// It broke off.
    Broken(ModelError),
    /// A condition in the turn itself ended it.
    Ended(TurnEnd),
}

/// The received part of an answer.
struct Draft {
    heard: Heard,
    blocks: Vec<AnswerBlock>,
    results: Results,
    max_tokens: u32,
}

impl<'a, H: ToolHost, S: TurnSink> Run<'a, H, S> {
    pub fn new(
        client: &'a ModelClient,
        input: &'a TurnInput,
        host: &'a mut H,
        sink: &'a mut S,
        cancel: &'a CancellationToken,
        deadline: Instant,
    ) -> Self {
        let opening = Opening {
            origin: input.origin,
            prompt: &input.prompt,
            evidence: input.evidence.as_ref(),
            attachments: &input.attachments,
            attached: &input.attached,
            notes: &input.notes,
            mode: input.mode,
        };
        Self {
            client,
            input,
            host,
            sink,
            cancel,
            deadline,
            transcript: Transcript::new(opening.message()),
            used: WireUsage::default(),
            files: BTreeMap::new(),
            steps: 0,
            failed_edits: 0,
            attempt: 0,
            spoken: [None; 2],
            said: TakenBack::default(),
            rewrites: None,
            repeats: RepeatGuard::new(input.repairs.clone()),
            asked: None,
            title: None,
            length: Length::new(input.compaction),
            blind: false,
        }
    }

    pub async fn run(mut self) -> TurnOutcome {
        let end = match self.keep().await {
            Ok(()) => self.converse().await,
            Err(end) => end,
        };
        // A retry may be able to store the messages. If it fails, the next turn would not know about them.
        let end = match self.keep().await {
            Err(lost) if !matches!(end, TurnEnd::Failed(_)) => lost,
            _ => end,
        };
        let note = match &end {
            TurnEnd::Done | TurnEnd::Asked(_) => None,
            TurnEnd::Loop { sentence, .. } => Some(sentence.clone()),
            TurnEnd::Stopped => Some("Stopped. Changes so far are saved.".to_owned()),
            TurnEnd::Cap(cap) => Some(cap.sentence(&self.input.limits, self.input.spent.is_some())),
            TurnEnd::Failed(error) => Some(error.message()),
        };
        TurnOutcome {
            end,
            note,
            usage: self.input.models.priced(&self.input.model, self.used),
            messages: self.transcript.into_messages(),
            files_touched: self.files,
            failed_edits: self.failed_edits,
            title: self.title,
            compaction: self.length.compaction,
            repairs: self.repeats.into_repairs(),
        }
    }

    async fn converse(&mut self) -> TurnEnd {
        let tools = tools::specs(self.input.mode);
        let mut attempts = Attempts::new(self.client.retry_policy());
        let mut cut = 0;
        loop {
            if self.cancel.is_cancelled() {
                return TurnEnd::Stopped;
            }
            let cost = self.input.models.cost_usd(&self.input.model, self.used);
            if let Some(cap) = self.input.limits.reached(self.before(), self.steps, self.used, cost) {
                return TurnEnd::Cap(cap);
            }
            let conversation = self.conversation().await;
            let draft = self.listen(&conversation, &tools).await;
            if !matches!(draft.heard, Heard::Broken(_)) {
                attempts = Attempts::new(self.client.retry_policy());
            }
            let was_run = !draft.results.is_empty();
            let next = match &draft.heard {
                Heard::Broken(error) => self.after_break(&draft, error, &mut attempts).await,
                Heard::Ended(end) => {
                    let (why, shown) = end.undone();
                    self.say_not_done(&draft, shown).await;
                    self.add(&draft, |_| why.to_owned());
                    Err(end.clone())
                }
                Heard::Answer(reason) => {
                    self.steps += 1;
                    match self.after_answer(&draft, reason).await {
                        Ok(Next::Cut) if was_run => Ok(()),
                        Ok(Next::Cut) => {
                            cut += 1;
                            if cut >= CUT_MAX {
                                Err(TurnEnd::Failed(ModelError::Unusable { times: cut }.into()))
                            } else {
                                Ok(())
                            }
                        }
                        Ok(Next::Go) => {
                            cut = 0;
                            Ok(())
                        }
                        Err(end) => Err(end),
                    }
                }
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    /// History and turn as one valid conversation, compacted as far as necessary.
    async fn conversation(&mut self) -> Vec<Message> {
        let (sendable, shorter) = self.length.compacted(&self.all(), self.input.threshold);
        self.notice(shorter).await;
        history::repair(&sendable, &self.input.model)
    }

    fn all(&self) -> Vec<Message> {
        [self.input.history.as_slice(), self.transcript.messages()].concat()
    }

    /// After the provider found the conversation too long: whether it could be made shorter.
    async fn squeeze(&mut self) -> bool {
        let shorter = self.length.squeeze(&self.all());
        self.notice(shorter).await;
        shorter.is_some()
    }

    async fn notice(&mut self, words: Option<&str>) {
        if let Some(words) = words {
            self.tool_event(NOTICE, words, true).await;
        }
    }

    /// Usage of other turns that share the limits.
    fn before(&self) -> Spent {
        self.input.spent.unwrap_or_default()
    }

    /// The length limit of the answer: the setting, but at most the model's limit and the rest of the turn's tokens.
    fn max_tokens(&self) -> u32 {
        let model = self.input.models.output_tokens(&self.input.model).unwrap_or(u32::MAX);
        let used = TurnLimits::counted_tokens(self.used).saturating_add(self.before().tokens);
        let left = self.input.limits.tokens.saturating_sub(used);
        let left = u32::try_from(left).unwrap_or(u32::MAX).max(ANSWER_TOKENS_MIN);
        self.input.max_tokens.min(model).min(left)
    }

    /// One attempt at one answer; its tools run as soon as their calls are complete.
    async fn listen(&mut self, conversation: &[Message], tools: &[crate::generation::wire::ToolSpec]) -> Draft {
        self.attempt += 1;
        self.said = TakenBack::default();
        let max_tokens = self.max_tokens();
        let no_images = Images::default();
        let request = Request {
            model: &self.input.model,
            max_tokens,
            system: &self.input.system,
            messages: conversation,
            images: if self.blind { &no_images } else { &self.input.images },
            tools,
            effort: self.input.effort,
        };
        let mut results = Results::default();
        let (cancel, deadline) = (self.cancel, self.deadline);
        let opened = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Heard::Ended(TurnEnd::Stopped)),
            () = tokio::time::sleep_until(deadline) => Err(Heard::Ended(TurnEnd::Cap(Cap::WallTime))),
            opened = self.client.open(&request) => opened.map_err(Heard::Broken),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(heard) => return Draft { heard, blocks: Vec::new(), results, max_tokens },
        };
        let mut typed = HashMap::new();
        let heard = loop {
            let item = tokio::select! {
                biased;
                () = cancel.cancelled() => break Heard::Ended(TurnEnd::Stopped),
                () = tokio::time::sleep_until(deadline) => break Heard::Ended(TurnEnd::Cap(Cap::WallTime)),
                item = stream.next() => item,
            };
            match item {
                Err(error) => break Heard::Broken(error),
                Ok(None) => break Heard::Answer(stream.stop_reason().cloned().unwrap_or(StopReason::EndTurn)),
                Ok(Some(StreamItem::ToolEnded { index, call })) => {
                    typed.remove(&index);
                    if let Err(end) = self.run_call(&call, &stream, &mut results).await {
                        break Heard::Ended(end);
                    }
                }
                Ok(Some(item)) => {
                    if let Err(end) = self.show(item, &mut typed).await {
                        break Heard::Ended(end);
                    }
                }
            }
        };
        let used = stream.usage();
        self.length.counted(compact::total(conversation) + self.input.system.len(), used);
        self.used = self.used + used;
        Draft { heard, blocks: stream.blocks(), results, max_tokens }
    }

    /// Shows an item of the stream.
    async fn show(&mut self, item: StreamItem, typed: &mut HashMap<usize, TypedFile>) -> Result<(), TurnEnd> {
        match item {
            StreamItem::Text { index, delta } => self.say(TextKind::Answer, index, delta).await,
            StreamItem::Thought { index, delta } => self.say(TextKind::Thought, index, delta).await,
            StreamItem::ToolStarted { index, name } => {
                if name == "write_file" && self.input.mode == TurnMode::Build {
                    typed.insert(index, TypedFile::new());
                }
            }
            StreamItem::ToolInput { index, json } => {
                if let Some(file) = typed.get_mut(&index) {
                    for event in file.push(&json) {
                        self.sink.event(event).await;
                    }
                    if file.bytes() > self.input.limits.file_bytes {
                        return Err(TurnEnd::Cap(Cap::FileBytes));
                    }
                }
            }
            StreamItem::Usage(answer) => {
                let usage: Usage = self.input.models.priced(&self.input.model, self.used + answer);
                self.sink.event(EventBody::Usage(usage)).await;
            }
            StreamItem::ToolEnded { .. } => {}
        }
        Ok(())
    }

    /// Shows text; a new block starts a new paragraph.
    async fn say(&mut self, kind: TextKind, index: usize, delta: String) {
        if delta.is_empty() {
            return;
        }
        let block = (self.attempt, index);
        let last = &mut self.spoken[usize::from(kind == TextKind::Thought)];
        let is_new = last.replace(block).is_some_and(|last| last != block);
        let delta = if is_new { format!("\n\n{}", delta.trim_start_matches('\n')) } else { delta };
        match kind {
            TextKind::Answer => self.said.answer += delta.len(),
            TextKind::Thought => self.said.thought += delta.len(),
        }
        self.sink.event(EventBody::Text { delta, kind }).await;
    }

    async fn tool_event(&mut self, name: &str, summary: impl Into<String>, ok: bool) {
        self.sink.event(EventBody::tool(name, summary, ok)).await;
    }

    /// Reports a broken answer. If no tool has run, its text is retracted.
    async fn broken_off(&mut self, draft: &Draft, words: String) {
        if !draft.results.is_empty() || draft.blocks.is_empty() {
            return self.tool_event(NOTICE, words, false).await;
        }
        let taken_back = Some(std::mem::take(&mut self.said));
        let summary = format!("{words} The unfinished answer was discarded.");
        self.sink.event(EventBody::Tool { name: NOTICE.to_owned(), summary, ok: false, taken_back }).await;
    }

    /// Runs a complete call. Input that is not JSON is handled at the end of the answer, when the reason is known.
    async fn run_call(&mut self, raw: &RawCall, stream: &AnswerStream, results: &mut Results) -> Result<(), TurnEnd> {
        let Ok(input) = raw.input() else { return Ok(()) };
        if self.asked.is_some() {
            self.tool_event(&raw.name, not_done(&raw.name, "a question is open"), false).await;
            results.add(&raw.id, QUESTION_OPEN.to_owned(), true);
            return self.keep_so_far(&raw.id, stream, results).await;
        }
        let limits = &self.input.limits;
        let outcome = match ToolCall::parse(&raw.name, input, self.input.mode) {
            Err(why) => ToolOutcome::refused(&raw.name, None, why),
            Ok(call) => {
                let is_new = call.changes().is_some_and(|path| !self.files.contains_key(path));
                if is_new && self.files.len() >= limits.files {
                    return Err(TurnEnd::Cap(Cap::Files));
                }
                let question = if let ToolCall::AskUser(question) = &call { Some(question.clone()) } else { None };
                if let ToolCall::NameVersion(title) = &call {
                    self.title = Some(title.clone());
                }
                match self.run_tool(&raw.name, call).await? {
                    Ok(outcome) => {
                        self.asked = question;
                        outcome
                    }
                    Err(ToolStop::Cap(cap)) => return Err(TurnEnd::Cap(cap)),
                    Err(ToolStop::Failed(why)) => return Err(TurnEnd::Failed(TurnError::Workspace(why))),
                    Err(ToolStop::Ask(question)) => return Err(TurnEnd::Asked(question)),
                }
            }
        };
        let mut enough = None;
        let mut answer = outcome.answer;
        if !outcome.ok {
            self.failed_edits += u32::from(toolbox::is_edit(&raw.name));
            let verdict = match outcome.failed_check {
                Some(failure) => self.repeats.check_failed(failure),
                None => self.repeats.refused(self.steps, &raw.name, &answer),
            };
            match verdict {
                RepeatVerdict::Continue => {}
                RepeatVerdict::Warn(words) => answer.push_str(words),
                RepeatVerdict::Abort { end, sentence } => enough = Some(TurnEnd::Loop { end, sentence }),
            }
        }
        if let Some((path, state)) = outcome.change {
            self.repeats.changed(&path);
            self.files.insert(path.clone(), state);
            self.sink.event(EventBody::File { path, state, delta: None }).await;
        }
        self.tool_event(&raw.name, outcome.summary, outcome.ok).await;
        results.add(&raw.id, answer, !outcome.ok);
        self.keep_so_far(&raw.id, stream, results).await?;
        enough.map_or(Ok(()), Err)
    }

    /// Stores the answer up to this call, so that its effect is recorded before the next one.
    async fn keep_so_far(&mut self, call: &str, stream: &AnswerStream, results: &Results) -> Result<(), TurnEnd> {
        self.transcript.add_part(&stream.blocks(), call, results, &self.input.model);
        self.keep().await
    }

    /// Runs a call. Calls that change something are awaited to their end; others are cancelled with the turn.
    async fn run_tool(&mut self, name: &str, call: ToolCall) -> Result<Result<ToolOutcome, ToolStop>, TurnEnd> {
        let changes = call.changes().is_some();
        if changes && self.rewrites.is_none() && !self.input.may_rewrite {
            let found = match self.host.protected_files().await {
                Ok(found) => found,
                Err(HostError::Refused(why) | HostError::Failed(why)) => {
                    return Err(TurnEnd::Failed(TurnError::Workspace(why)));
                }
            };
            self.rewrites = Some(Rewrites::new(found));
        }
        let bounds = Bounds { file_bytes: self.input.limits.file_bytes, rewrites: self.rewrites.as_mut() };
        let work = toolbox::run(self.host, name, call, bounds);
        if changes {
            return Ok(work.await);
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(TurnEnd::Stopped),
            () = tokio::time::sleep_until(self.deadline) => Err(TurnEnd::Cap(Cap::WallTime)),
            done = work => Ok(done),
        }
    }

    async fn keep(&mut self) -> Result<(), TurnEnd> {
        if let Some((from, messages)) = self.transcript.unkept() {
            let kept = self.sink.keep(from, messages).await;
            kept.map_err(|why| TurnEnd::Failed(TurnError::Transcript(why)))?;
            self.transcript.now_kept();
        }
        Ok(())
    }

    fn add(&mut self, draft: &Draft, explain: impl Fn(&RawCall) -> String) {
        self.transcript.add_answer(&draft.blocks, &draft.results, &self.input.model, explain);
    }

    /// Shows the calls of an answer that were not executed; returns whether there are any.
    async fn say_not_done(&mut self, draft: &Draft, why: &str) -> bool {
        let calls = unanswered(&draft.blocks, &draft.results);
        for call in &calls {
            self.tool_event(&call.name, not_done(&call.name, why), false).await;
        }
        !calls.is_empty()
    }

    /// An answer that broke off: retried, or continued after its tools.
    async fn after_break(&mut self, draft: &Draft, error: &ModelError, attempts: &mut Attempts) -> Result<(), TurnEnd> {
        if !draft.results.is_empty() {
            self.say_not_done(draft, "the connection broke off").await;
            self.add(draft, |_| "The connection broke off in the middle of this call, so nothing was done.".into());
            self.keep().await?;
        }
        if let Some(question) = self.asked.take() {
            return Err(TurnEnd::Asked(question));
        }
        if matches!(error, ModelError::ContextWindow | ModelError::TooLarge) && self.squeeze().await {
            if draft.results.is_empty() && !draft.blocks.is_empty() {
                self.broken_off(draft, error.to_string()).await;
            }
            return Ok(());
        }
        if matches!(error, ModelError::Invalid(_)) && self.images_refused().await? {
            return Ok(());
        }
        let Some(wait) = attempts.failed(error) else {
            return Err(TurnEnd::Failed(error.clone().into()));
        };
        let wait_for = if wait.as_secs() < 2 { String::new() } else { format!(" in {} s", wait.as_secs()) };
        self.broken_off(draft, format!("{error} Asking again{wait_for}{}.", nth(attempts.made()))).await;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(TurnEnd::Stopped),
            () = tokio::time::sleep_until(self.deadline) => Err(TurnEnd::Cap(Cap::WallTime)),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// After the provider rejected the turn's first request: its images may be the cause, and would be sent
    /// with every later message too, so they are removed. Returns whether to send the request again without images
    /// of earlier turns.
    async fn images_refused(&mut self) -> Result<bool, TurnEnd> {
        if self.blind || self.transcript.has_answer() {
            return Ok(false);
        }
        if self.transcript.drop_images() {
            self.keep().await?;
            return Ok(false);
        }
        let mut earlier = self.input.history.iter().flat_map(|message| &message.content);
        self.blind =
            earlier.any(|block| matches!(block, ContentBlock::Image { id, .. } if self.input.images.get(id).is_some()));
        if self.blind {
            self.tool_event(NOTICE, "The provider refused the request. Asking again without the images.", false).await;
        }
        Ok(self.blind)
    }

    /// A complete answer: what to do next, or that the turn is done.
    async fn after_answer(&mut self, draft: &Draft, reason: &StopReason) -> Result<Next, TurnEnd> {
        if let StopReason::Refusal(explanation) = reason {
            // A refused answer is not sent back to the model, nor is a prompt without an answer.
            self.transcript.drop_refused();
            self.keep().await?;
            return Err(TurnEnd::Failed(ModelError::Refused { explanation: explanation.clone() }.into()));
        }
        if *reason != StopReason::ContextWindow {
            self.length.fitted();
        }
        let limit = (*reason == StopReason::MaxTokens).then_some(draft.max_tokens);
        let why = if limit.is_some() {
            "the answer reached its limit in the middle of it"
        } else {
            "its input is not valid JSON"
        };
        let is_broken = self.say_not_done(draft, why).await;
        self.add(draft, |call| explain_invalid_input(call, limit));
        let next = match reason {
            _ if self.asked.is_some() => Err(self.asked.take().map_or(TurnEnd::Done, TurnEnd::Asked)),
            StopReason::ContextWindow if self.squeeze().await => {
                if draft.results.is_empty() && !is_broken {
                    self.transcript.push(Message::user(vec![ContentBlock::text(ANSWER_CUT_NOTE)]));
                }
                Ok(Next::Go)
            }
            StopReason::ContextWindow => Err(TurnEnd::Failed(ModelError::ContextWindow.into())),
            _ if is_broken => Ok(Next::Cut),
            _ if !draft.results.is_empty() => Ok(Next::Go),
            StopReason::MaxTokens => {
                self.transcript.push(Message::user(vec![ContentBlock::text(ANSWER_CUT_NOTE)]));
                // The turn's limits bound growing text; thinking alone makes no progress.
                let has_grown = draft.blocks.iter().any(
                    |block| matches!(block, AnswerBlock::Content(ContentBlock::Text { text }) if !text.trim().is_empty()),
                );
                Ok(if has_grown { Next::Go } else { Next::Cut })
            }
            StopReason::PauseTurn => Ok(Next::Go),
            _ => Err(TurnEnd::Done),
        };
        self.keep().await?;
        next
    }
}

/// Counts the attempts of one request from the second retry on: one line of the page shows them all.
fn nth(attempt: u32) -> String {
    if attempt < 2 { String::new() } else { format!(" (attempt {})", attempt + 1) }
}

/// After an answer that does not end the turn.
enum Next {
    /// All calls were executed.
    Go,
    /// It was truncated or unreadable; too many of these in a row end the turn.
    Cut,
}
