//! The context of a running job: its steps with their durations, its log, and its result.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{App, EventBody, Job, JobError, LogStream, Redaction, Step, StepName, StepState};
use crate::error::AppError;
use crate::output::LineSink;
use crate::platform::{Platform, job_event};
use crate::store::{StoreError, jobs as table};

/// Why a job did not complete its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The job was cancelled on request.
    Cancelled,
    /// The job failed with this error.
    Failed(JobError),
}

impl Failure {
    /// A failure with a code and a message.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(JobError { code: code.to_owned(), message: message.into(), hint: None, lines: Vec::new() })
    }

    /// Adds a hint about what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(JobError { hint: Some(hint.into()), ..error }),
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// Replaces secrets that an app may have printed.
    #[must_use]
    pub fn redacted(self, redaction: &Redaction) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(redaction.error(error)),
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// Adds the lines of the log that explain the failure.
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

/// A job's log as a sink. Each line is stored before the next one is taken.
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

/// The context of a running job.
pub struct JobContext {
    /// The services that the job uses.
    pub platform: Arc<Platform>,
    /// The job.
    pub job: Job,
    /// Cancelled when the job should end.
    pub cancel: CancellationToken,
    /// Removes secrets from all that the job logs, sends to the model, or reports as its failure.
    pub redaction: Redaction,
    steps: Mutex<Vec<(Step, Instant)>>,
}

impl JobContext {
    /// The context of a job that is about to start.
    pub fn new(platform: Arc<Platform>, job: Job, cancel: CancellationToken, redaction: Redaction) -> Self {
        Self { platform, job, cancel, redaction, steps: Mutex::default() }
    }

    /// The app in its current state.
    pub async fn app(&self) -> Result<App, Failure> {
        Ok(self.platform.store.app_by_id(self.job.app_id).await?)
    }

    /// Publishes an event of this job.
    pub async fn emit(&self, body: EventBody) {
        self.platform.events.emit(self.job.app_id, Some(self.job.id), body).await;
    }

    /// Writes a line to the job's log.
    pub async fn log(&self, stream: LogStream, line: impl Into<String>) {
        self.emit(EventBody::Log { stream, line: self.redaction.string(line.into()) }).await;
    }

    /// The job's log as a sink for adapters.
    pub fn lines(&self, stream: LogStream) -> JobLog<'_> {
        JobLog { context: self, stream }
    }

    /// Fails if the job was cancelled.
    pub fn check_cancelled(&self) -> Result<(), Failure> {
        if self.cancel.is_cancelled() { Err(Failure::Cancelled) } else { Ok(()) }
    }

    /// Runs one step of the job: it is shown while it runs, and stored with its duration.
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

    /// Records a step for which there was nothing to do.
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
