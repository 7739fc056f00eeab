//! Waits until a started container is ready: sends its probe and watches the container at the same time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{Answered, Instance, RuntimeError, probe};
use super::DockerRuntime;
use crate::domain::Probe;
use crate::engine::Fault;

/// Lines of an app's log that an error contains.
pub(super) const LAST_LINES: u32 = 20;

/// The result of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: i64,
    pub(super) oom: bool,
}

impl DockerRuntime {
    pub(in super::super) async fn wait_ready(
        &self,
        instance: &Instance,
        probe: &Probe,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<Answered, RuntimeError> {
        let begun = Instant::now();
        let Some(address) = instance.address else {
            return Err(RuntimeError::CannotStart("it has no address to ask".to_owned()));
        };
        let last = Mutex::new(format!("nothing listens on port {} yet.", probe.port));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(RuntimeError::Cancelled),
            () = probe::until_ready(address, probe, &last) => {}
            exit = self.exit(&instance.id) => {
                let Exit { code, oom } = exit?;
                return Err(RuntimeError::Exited { code, oom, lines: self.last_lines(&instance.id).await });
            }
            () = tokio::time::sleep(deadline) => {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let lines = self.last_lines(&instance.id).await;
                return Err(RuntimeError::NotReady { waited: deadline, last, lines });
            }
        }
        self.restart_when_it_ends(&instance.id, true).await?;
        Ok(Answered { millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }

    /// Waits until a container ends, without a timeout.
    pub(super) async fn exit(&self, id: &str) -> Result<Exit, RuntimeError> {
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut wait = std::pin::pin!(self.docker().wait_container(id, Some(options)));
        let code = match wait.next().await {
            Some(Ok(answer)) => answer.status_code,
            // The client library reports every exit code except 0 as an error.
            Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(Fault::from(error).into()),
            None => {
                return Err(RuntimeError::Unavailable(Fault::Unavailable("it closed the line".to_owned()).to_string()));
            }
        };
        // If the container was removed meanwhile, nothing more is known.
        let oom = self.inspect(id).await?.is_some_and(|found| found.oom);
        Ok(Exit { code, oom })
    }
}
