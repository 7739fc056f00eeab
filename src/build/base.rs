//! Base images: the configured one where it can be had, else the one that setup built.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::log::Output;
use super::{BuildError, BuildSettings};
use crate::engine::{self, Fault};

/// How long a pull may say nothing.
const PULL_SILENCE: Duration = Duration::from_secs(20);
/// How long a pull may take.
const PULL_LIMIT: Duration = Duration::from_mins(5);
/// For how long a failed pull is not tried again, so that not every build waits for it.
const FAILURE_KEPT: Duration = Duration::from_mins(10);

/// What was found out about base images so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Bases {
    failures: Arc<Mutex<HashMap<String, (Instant, String)>>>,
}

impl Bases {
    /// The image to build on, which is in the engine then.
    pub(super) async fn resolve(
        &self,
        docker: &Docker,
        settings: &BuildSettings,
        base: &str,
        output: &mut Output<'_>,
    ) -> Result<String, BuildError> {
        let fallback = format!("{}/{base}", settings.fallback);
        let Some(wanted) = settings.base_images.get(base) else {
            if is_there(docker, &fallback).await? {
                return Ok(fallback);
            }
            let reason = "none is configured".to_owned();
            return Err(BuildError::BaseImageMissing { wanted: base.to_owned(), fallback, reason });
        };
        if is_there(docker, wanted).await? {
            return Ok(wanted.clone());
        }
        let reason = match self.recent_failure(wanted) {
            Some(reason) => reason,
            None => match pull(docker, wanted, output).await {
                Ok(()) => return Ok(wanted.clone()),
                Err(fault @ (Fault::DiskFull | Fault::Unavailable(_))) => return Err(fault.into()),
                Err(fault) => {
                    let reason = match fault {
                        Fault::NotFound(why) | Fault::Conflict(why) | Fault::Other(why) => why,
                        other => other.to_string(),
                    };
                    self.remember(wanted, &reason);
                    reason
                }
            },
        };
        if is_there(docker, &fallback).await? {
            output.say(format!("The base image {wanted} is not here and cannot be pulled ({reason}).")).await;
            output
                .say(format!("{fallback} is used instead, which setup built from the distribution's packages."))
                .await;
            return Ok(fallback);
        }
        Err(BuildError::BaseImageMissing { wanted: wanted.clone(), fallback, reason })
    }

    fn recent_failure(&self, image: &str) -> Option<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(image).filter(|(at, _)| at.elapsed() < FAILURE_KEPT).map(|(_, reason)| reason.clone())
    }

    fn remember(&self, image: &str, reason: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert(image.to_owned(), (Instant::now(), reason.to_owned()));
    }
}

async fn is_there(docker: &Docker, image: &str) -> Result<bool, BuildError> {
    match engine::call(engine::QUICK, docker.inspect_image(image)).await {
        Ok(_) => Ok(true),
        Err(Fault::NotFound(_)) => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}

async fn pull(docker: &Docker, image: &str, output: &mut Output<'_>) -> Result<(), Fault> {
    output.say(format!("Pulling the base image {image}.")).await;
    let (name, tag) = split_tag(image);
    let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
    let mut stream = std::pin::pin!(docker.create_image(Some(options), None, None));
    let started = Instant::now();
    loop {
        let silence = PULL_SILENCE.min(PULL_LIMIT.saturating_sub(started.elapsed()));
        match tokio::time::timeout(silence, stream.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                return Err(match Fault::from(error) {
                    // The engine is there, it answers; it is the registry behind it that is not.
                    Fault::Unavailable(why) if engine::ping(docker).await.is_ok() => Fault::Other(why),
                    fault => fault,
                });
            }
            Err(_) => return Err(Fault::Other("the registry does not answer".to_owned())),
        }
    }
}

/// Name and tag of an image; a digest is kept in the name, which the engine takes whole.
fn split_tag(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::split_tag;

    #[test]
    fn tags_are_told_from_ports() {
        assert_eq!(split_tag("python:3.13-slim"), ("python", "3.13-slim"));
        assert_eq!(split_tag("host:5000/python"), ("host:5000/python", "latest"));
        assert_eq!(split_tag("host:5000/python:3"), ("host:5000/python", "3"));
        assert_eq!(split_tag("nginx@sha256:00"), ("nginx@sha256:00", ""));
    }
}
