//! For tests: a workspace in memory, a recording sink, and a client for a fake or demo model.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Once;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::client::{ModelClient, Provider, Timeouts};
use super::ports::{
    COMPUTE_TIME, CheckReport, Content, FileEntry, HostError, PreviewAnswer, PreviewRequest, ProtectedFile,
    SearchFound, SearchLimits, ToolHost, TurnSink, Written,
};
use super::retry::RetryPolicy;
use super::search;
use super::wire::{Images, Message, WireFormat};
use super::{TurnInput, TurnLimits, TurnOutcome, run_turn};
use crate::bounded_work::Budget;
use crate::domain::{EventBody, FileState, TextKind, TurnMode, WorkspacePath};

/// Files in memory; `Dockerfile` belongs to the platform, and writing `full.txt` fails with a full disk.
#[derive(Debug, Default)]
pub struct MemoryHost {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Results of `check`, `preview_logs` and `request`.
    pub report: CheckReport,
    /// The first results of `check`, one after the other.
    pub checks: VecDeque<Result<CheckReport, HostError>>,
    /// Set by a check, which then never ends, and by a write, which then is slow.
    pub stopped_by: Option<CancellationToken>,
    pub log: Vec<String>,
    /// Number of searches.
    pub searches: u32,
    pub answer: PreviewAnswer,
}

impl MemoryHost {
    pub fn with(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Self { files, ..Self::default() }
    }

    pub fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("", |bytes| std::str::from_utf8(bytes).unwrap())
    }

    fn check(path: &WorkspacePath) -> Result<(), HostError> {
        match path.as_str() {
            "Dockerfile" => Err(HostError::Refused("Dockerfile belongs to the platform. Leave it as it is.".into())),
            "full.txt" => Err(HostError::Failed("The disk is full.".into())),
            _ => Ok(()),
        }
    }
}

impl ToolHost for MemoryHost {
    async fn list(&mut self) -> Result<Vec<FileEntry>, HostError> {
        let entry =
            |(path, bytes): (&String, &Vec<u8>)| FileEntry { path: path.parse().unwrap(), bytes: bytes.len() as u64 };
        Ok(self.files.iter().map(entry).collect())
    }
    async fn read(&mut self, path: &WorkspacePath) -> Result<Vec<u8>, HostError> {
        let missing = || HostError::Refused(format!("There is no file {path}."));
        self.files.get(path.as_str()).cloned().ok_or_else(missing)
    }
    async fn search(&mut self, pattern: &str, limits: SearchLimits) -> Result<SearchFound, HostError> {
        self.searches += 1;
        let files = self.list().await?;
        let read = |path: &WorkspacePath| Ok::<_, HostError>(self.files.get(path.as_str()).cloned());
        search::run(pattern, &limits, &Budget::unlimited(), &files, read)?.map_err(HostError::Refused)
    }
    async fn compute<R: Send + 'static>(
        &mut self,
        _: &'static str,
        work: impl FnOnce(&Budget) -> R + Send + 'static,
    ) -> Result<R, HostError> {
        Ok(work(&Budget::of(COMPUTE_TIME)))
    }
    async fn write(&mut self, path: &WorkspacePath, content: &str) -> Result<Written, HostError> {
        Self::check(path)?;
        if let Some(stop) = &self.stopped_by {
            stop.cancel();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let old = self.files.insert(path.to_string(), content.as_bytes().to_vec()).unwrap_or_default();
        // Lines that the other text does not have; sufficient because no line occurs twice.
        let old = String::from_utf8_lossy(&old);
        let missing = |these: &str, in_those: &str| {
            u32::try_from(these.lines().filter(|line| !in_those.lines().any(|other| other == *line)).count()).unwrap()
        };
        Ok(Written { additions: missing(content, &old), deletions: missing(&old, content) })
    }
    async fn protected_files(&mut self) -> Result<Vec<ProtectedFile>, HostError> {
        let file = |(path, bytes): (&String, &Vec<u8>)| {
            let content = String::from_utf8(bytes.clone()).map_or(Content::Binary(bytes.len() as u64), Content::Text);
            let (before, now) = (Some(content.clone()), Some(content));
            ProtectedFile { path: path.parse().unwrap(), before, now, by_hand: false }
        };
        Ok(self.files.iter().map(file).collect())
    }
    async fn delete(&mut self, path: &WorkspacePath) -> Result<(), HostError> {
        Self::check(path)?;
        let missing = || HostError::Refused(format!("There is no file {path}."));
        self.files.remove(path.as_str()).map(|_| ()).ok_or_else(missing)
    }
    async fn check(&mut self) -> Result<CheckReport, HostError> {
        if let Some(stop) = &self.stopped_by {
            stop.cancel();
            std::future::pending::<()>().await;
        }
        self.checks.pop_front().unwrap_or_else(|| Ok(self.report.clone()))
    }
    async fn preview_logs(&mut self) -> Result<Vec<String>, HostError> {
        Ok(self.log.clone())
    }
    async fn request(&mut self, _: PreviewRequest) -> Result<PreviewAnswer, HostError> {
        Ok(self.answer.clone())
    }
}

/// Whether this is the expected event.
pub type Predicate = fn(&EventBody) -> bool;

/// Records everything; can cancel at an event, and fail to store.
pub struct MemorySink {
    pub events: Vec<EventBody>,
    /// The stored rows.
    pub rows: Vec<Message>,
    /// No stored row was deleted.
    pub appended: bool,
    /// The stored conversation after each write.
    pub kept: Vec<Vec<Message>>,
    pub cancel_at: Option<(CancellationToken, Predicate)>,
    pub cancelled: Option<std::time::Instant>,
    pub keeps_left: Option<usize>,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            rows: Vec::new(),
            appended: true,
            kept: Vec::new(),
            cancel_at: None,
            cancelled: None,
            keeps_left: None,
        }
    }
}

impl MemorySink {
    pub fn text(&self, wanted: TextKind) -> String {
        let deltas = self.events.iter().map(|event| match event {
            EventBody::Text { delta, kind } if *kind == wanted => delta.as_str(),
            _ => "",
        });
        deltas.collect()
    }

    pub fn tools(&self) -> Vec<(String, bool)> {
        let tools = self.events.iter().filter_map(|event| match event {
            EventBody::Tool { summary, ok, .. } => Some((summary.clone(), *ok)),
            _ => None,
        });
        tools.collect()
    }

    /// A file's `file` events: the written text, and the states in order without repetitions.
    pub fn typed(&self, wanted: &str) -> (String, Vec<FileState>) {
        let (mut text, mut states) = (String::new(), Vec::new());
        for event in &self.events {
            if let EventBody::File { path, state, delta } = event
                && path.as_str() == wanted
            {
                text.push_str(delta.as_deref().unwrap_or_default());
                states.push(*state);
            }
        }
        states.dedup();
        (text, states)
    }
}

impl TurnSink for MemorySink {
    async fn event(&mut self, body: EventBody) {
        if let Some((cancel, predicate)) = &self.cancel_at
            && predicate(&body)
        {
            cancel.cancel();
            self.cancelled.get_or_insert_with(std::time::Instant::now);
        }
        self.events.push(body);
    }
    async fn keep(&mut self, from: usize, messages: &[Message]) -> Result<(), String> {
        if let Some(left) = &mut self.keeps_left {
            *left = left.checked_sub(1).ok_or("The disk is full.")?;
        }
        self.appended &= from == self.rows.len();
        self.rows.truncate(from);
        self.rows.extend_from_slice(messages);
        self.kept.push(super::history::join_parts(self.rows.clone()));
        Ok(())
    }
}

/// A client with short timeouts.
pub fn client(base_url: &str, key: &str) -> ModelClient {
    client_over(WireFormat::Anthropic, base_url, key)
}

/// The same for either wire format.
pub fn client_over(format: WireFormat, base_url: &str, key: &str) -> ModelClient {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let provider = Provider { format, base_url: base_url.to_owned(), key: key.into() };
    let timeouts = Timeouts { connect: Duration::from_secs(5), idle: Duration::from_secs(5) };
    let retry = RetryPolicy {
        first: Duration::from_millis(2),
        longest: Duration::from_millis(8),
        longest_asked: Duration::from_secs(2),
    };
    ModelClient::new(provider, timeouts, retry).unwrap()
}

pub fn input(prompt: &str, model: &str) -> TurnInput {
    TurnInput {
        system: "You build apps.".into(),
        history: Vec::new(),
        origin: crate::domain::TurnOrigin::Person,
        prompt: prompt.into(),
        evidence: None,
        attached: Vec::new(),
        attachments: Vec::new(),
        images: Images::default(),
        notes: Vec::new(),
        compaction: super::Compaction::default(),
        threshold: super::ModelTable::embedded().compaction(model),
        may_rewrite: false,
        mode: TurnMode::Build,
        model: model.into(),
        models: super::ModelTable::embedded(),
        max_tokens: 32_000,
        effort: None,
        limits: TurnLimits::default(),
        spent: None,
        repairs: crate::domain::RepairBudget::default(),
    }
}

/// Runs a turn with a deadline that only a hanging test reaches.
pub async fn play(
    client: &ModelClient,
    input: &TurnInput,
    host: &mut MemoryHost,
    sink: &mut MemorySink,
    cancel: &CancellationToken,
) -> TurnOutcome {
    let turn = run_turn(client, input, host, sink, cancel);
    tokio::time::timeout(Duration::from_secs(30), turn).await.expect("the turn ends")
}
