//! Base images: the configured one if it is available, else the one that setup built. A name is resolved once and then stays the
//! same image: a tag that moves, by a build or by another user of the engine, has no effect until the
//! builder restarts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::log::Output;
use super::{BuildError, BuildSettings};
use crate::engine::{self, Fault};

/// Idle timeout of a pull.
const PULL_SILENCE: Duration = Duration::from_secs(20);
/// Timeout of a pull.
const PULL_LIMIT: Duration = Duration::from_mins(5);
/// How long a failed pull is not retried, so that not every build waits for it.
const FAILURE_KEPT: Duration = Duration::from_mins(10);

/// The resolved base images.
#[derive(Debug, Clone, Default)]
pub(super) struct Bases {
    failures: Arc<Mutex<HashMap<String, (Instant, String)>>>,
    /// Image ids by name. `None` until they were resolved for the first time.
    pins: Arc<tokio::sync::Mutex<Option<HashMap<String, String>>>>,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// Its name.
    pub(super) name: String,
    /// Its image id.
    pub(super) id: String,
}

impl Bases {
    /// The image to build on, which is in the engine afterwards.
    pub(super) async fn resolve(
        &self,
        docker: &Docker,
        settings: &BuildSettings,
        base: &str,
        output: &mut Output<'_>,
    ) -> Result<Base, BuildError> {
        self.pin_all(docker, settings).await?;
        let fallback = format!("{}/{base}", settings.fallback);
        let Some(wanted) = settings.base_images.get(base) else {
            if let Some(base) = self.pinned(docker, &fallback, output).await? {
                return Ok(base);
            }
            let reason = "none is configured".to_owned();
            return Err(BuildError::BaseImageMissing { wanted: base.to_owned(), fallback, reason });
        };
        if let Some(base) = self.pinned(docker, wanted, output).await? {
            return Ok(base);
        }
        let reason = match self.recent_failure(wanted) {
            Some(reason) => reason,
            None => match pull(docker, wanted, output).await {
                Ok(()) => {
                    let base = self.pinned(docker, wanted, output).await?;
                    return base.ok_or_else(|| Fault::NotFound(format!("{wanted} is not there after its pull")).into());
                }
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
        if let Some(base) = self.pinned(docker, &fallback, output).await? {
            output.say(format!("The base image {wanted} is not in the engine and cannot be pulled ({reason}).")).await;
            output
                .say(format!("{fallback} is used instead, which setup built from the distribution's packages."))
                .await;
            return Ok(base);
        }
        Err(BuildError::BaseImageMissing { wanted: wanted.clone(), fallback, reason })
    }

    /// Resolves all names before the first build, so that no build can move a tag that a later build needs.
    async fn pin_all(&self, docker: &Docker, settings: &BuildSettings) -> Result<(), BuildError> {
        let mut pins = self.pins.lock().await;
        if pins.is_some() {
            return Ok(());
        }
        let local = ["python", "nginx"].into_iter().chain(settings.base_images.keys().map(String::as_str));
        let local = local.map(|base| format!("{}/{base}", settings.fallback));
        let mut found = HashMap::new();
        for name in settings.base_images.values().cloned().chain(local) {
            if let Some(id) = id_of(docker, &name).await? {
                found.insert(name, id);
            }
        }
        *pins = Some(found);
        Ok(())
    }

    /// The image of a name at its first lookup, as long as the engine has it.
    async fn pinned(&self, docker: &Docker, name: &str, output: &mut Output<'_>) -> Result<Option<Base>, BuildError> {
        let mut pins = self.pins.lock().await;
        let pins = pins.get_or_insert_default();
        let now = id_of(docker, name).await?;
        if let Some(id) = pins.get(name).cloned()
            && (now.as_ref() == Some(&id) || id_of(docker, &id).await?.is_some())
        {
            if now.as_ref() != Some(&id) {
                tracing::warn!(image = name, used = %id, found = now.as_deref().unwrap_or("none"), "a base image's tag has moved; using the previous image until Slipway restarts");
                output.say(format!(
                    "{name} is now another image than when Slipway started. The previous image is used; restart Slipway to use the new one."
                )).await;
            }
            return Ok(Some(Base { name: name.to_owned(), id }));
        }
        Ok(now.map(|id| {
            pins.insert(name.to_owned(), id.clone());
            Base { name: name.to_owned(), id }
        }))
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

/// Rejects images of apps and of build steps, which contain other apps' files.
pub(super) fn refuse_ours(image: &str) -> Result<(), BuildError> {
    let is_app = image.starts_with("sha256:")
        || image.split(['/', ':', '@']).any(|word| word == "slipway" || word == super::STEP_REPOSITORY);
    if is_app {
        return Err(is_ours(image));
    }
    Ok(())
}

/// The error for a Dockerfile that names an image of an app or of a build step.
pub(super) fn is_ours(image: &str) -> BuildError {
    let message = format!("The Dockerfile names the image {image}: an app cannot be built on another app.");
    BuildError::Failed { message, lines: Vec::new() }
}

/// The id of an image by its name or id; `None` if it does not exist.
async fn id_of(docker: &Docker, image: &str) -> Result<Option<String>, BuildError> {
    match engine::call(engine::QUICK, docker.inspect_image(image)).await {
        Ok(found) => Ok(found.id),
        Err(Fault::NotFound(_)) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

pub(super) async fn pull(docker: &Docker, image: &str, output: &mut Output<'_>) -> Result<(), Fault> {
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
                    // The engine answers, but the registry does not.
                    Fault::Unavailable(why) if engine::ping(docker).await.is_ok() => Fault::Other(why),
                    fault => fault,
                });
            }
            Err(_) => return Err(Fault::Other("the registry does not answer".to_owned())),
        }
    }
}

/// Name and tag of an image; a digest stays in the name, which the engine accepts.
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
    fn tags_are_distinguished_from_ports() {
        assert_eq!(split_tag("python:3.13-slim"), ("python", "3.13-slim"));
        assert_eq!(split_tag("host:5000/python"), ("host:5000/python", "latest"));
        assert_eq!(split_tag("host:5000/python:3"), ("host:5000/python", "3"));
        assert_eq!(split_tag("nginx@sha256:00"), ("nginx@sha256:00", ""));
    }
}
