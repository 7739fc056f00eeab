//! What a job has in hand while it runs: its parts with their times, its log, its end.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{App, EventBody, Job, JobError, LogStream, Redaction, Step, StepName, StepState};
use crate::error::AppError;
use crate::output::LineSink;
use crate::platform::{Platform, job_event};
use crate::store::{StoreError, jobs as table};

/// Why a job did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Somebody asked for its end.
    Cancelled,
    /// It failed, and this is why.
    Failed(JobError),
}

impl Failure {
    /// A failure with a code and a sentence.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(JobError { code: code.to_owned(), message: message.into(), hint: None, lines: Vec::new() })
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(JobError { hint: Some(hint.into()), ..error }),
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// Without the secrets that an app may have printed.
    #[must_use]
    pub fn redacted(self, redaction: &Redaction) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(redaction.error(error)),
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// With the log's last lines that matter.
    #[must_use]
    pub fn lines(self, lines: Vec<String>) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(JobError { lines, ..error }),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        Self::Failed(JobError {
            code: error.code.to_owned(),
            message: error.detail,
            hint: error.hint,
            lines: Vec::new(),
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        AppError::from(error).into()
    }
}

/// A job's log, which takes lines no faster than they are kept.
#[derive(Clone, Copy)]
pub struct JobLog<'a> {
    context: &'a JobContext,
    stream: LogStream,
}

impl LineSink for JobLog<'_> {
    fn line(&self, line: String) -> BoxFuture<'_, ()> {
        Box::pin(self.context.log(self.stream, line))
    }
}

/// A job at work.
pub struct JobContext {
    /// What it works with.
    pub platform: Arc<Platform>,
    /// The job.
    pub job: Job,
    /// Set when somebody asked for its end.
    pub cancel: CancellationToken,
    /// What is taken out of all that the job logs, tells the model, and fails with.
    pub redaction: Redaction,
    steps: Mutex<Vec<(Step, Instant)>>,
}

impl JobContext {
    /// A job that is about to begin.
    pub fn new(platform: Arc<Platform>, job: Job, cancel: CancellationToken, redaction: Redaction) -> Self {
        Self { platform, job, cancel, redaction, steps: Mutex::default() }
    }

    /// The app, as it is now.
    pub async fn app(&self) -> Result<App, Failure> {
        Ok(self.platform.store.app_by_id(self.job.app_id).await?)
    }

    /// Tells something that belongs to this job.
    pub async fn emit(&self, body: EventBody) {
        self.platform.events.emit(self.job.app_id, Some(self.job.id), body).await;
    }

    /// A line of the job's log.
    pub async fn log(&self, stream: LogStream, line: impl Into<String>) {
        self.emit(EventBody::Log { stream, line: self.redaction.string(line.into()) }).await;
    }

    /// The job's log, for what is handed to adapters.
    pub fn lines(&self, stream: LogStream) -> JobLog<'_> {
        JobLog { context: self, stream }
    }

    /// Ends here if somebody asked for it.
    pub fn check_cancelled(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() { Err(Failure::Cancelled) } else { Ok(()) }
    }

    /// Does one part of the work: shown while it runs, kept with its time.
    pub async fn step<T>(&self, name: StepName, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.check_cancelled()?;
        self.change_steps(|steps| {
            steps.push((Step { name, state: StepState::Running, millis: 0 }, Instant::now()));
        })
        .await?;
        let result = work.await;
        let state = if result.is_ok() { StepState::Done } else { StepState::Failed };
        self.end_step(name, state).await?;
        result
    }

    /// Notes a part that there was nothing to do for.
    pub async fn skip(&self, name: StepName) -> Result<(), Failure> {
        self.note_steps(vec![Step { name, state: StepState::Skipped, millis: 0 }]).await
    }

    /// Notes parts that have ended before it was known that they would count.
    pub async fn note_steps(&self, ended: Vec<Step>) -> Result<(), Failure> {
        self.change_steps(|steps| steps.extend(ended.into_iter().map(|step| (step, Instant::now())))).await
    }

    async fn end_step(&self, name: StepName, state: StepState) -> Result<(), Failure> {
        self.change_steps(|steps| {
            if let Some((step, since)) = steps.iter_mut().find(|(step, _)| step.name == name) {
                step.state = state;
                step.millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            }
        })
        .await
    }

    async fn change_steps(&self, change: impl FnOnce(&mut Vec<(Step, Instant)>)) -> Result<(), Failure> {
        let steps: Vec<Step> = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut steps);
            steps.iter().map(|(step, _)| step.clone()).collect()
        };
        let id = self.job.id;
        self.platform
            .events
            .commit(move |t| {
                let job = table::set_steps(t, id, &steps)?;
                let event = job_event(&job);
                Ok(((), vec![event]))
            })
            .await?;
        Ok(())
    }
}
