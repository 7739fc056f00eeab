//! The connection to the container engine, and the meaning of its errors.
//!
//! This module is used by `build` and `runtime`, which do not depend on each other. It has no knowledge of apps'
//! settings, images or networks.

mod fault;
#[cfg(test)]
pub mod netns;
pub mod seccomp;
pub mod subnet;
#[cfg(test)]
pub mod testing;
mod tls;
mod transport;

use std::time::Duration;

use bollard::Docker;

pub use fault::Fault;
pub use transport::{connect, connect_with_tls, is_local};

/// Timeout of requests that the engine answers without work: lists, inspections, tags.
pub const QUICK: Duration = Duration::from_secs(15);
/// Timeout of requests that need work: creating, starting and removing objects.
pub const SLOW: Duration = Duration::from_mins(1);

/// Waits for one call to the engine, with a timeout.
///
/// # Errors
/// The error of the engine, or [`Fault::Unavailable`] if it did not answer within `limit`.
pub async fn call<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Unavailable(format!("it has not answered for {} seconds", limit.as_secs()))),
    }
}

/// The engine's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, such as `28.2.2`.
    pub version: String,
    /// The API version that it supports, such as `1.41`.
    pub api_version: String,
    /// Operating system and architecture, such as `linux/amd64`.
    pub platform: String,
}

/// Reads the engine's version, with a timeout of five seconds.
///
/// # Errors
/// [`Fault::Unavailable`] if the engine does not answer.
pub async fn ping(docker: &Docker) -> Result<EngineInfo, Fault> {
    let version = call(Duration::from_secs(5), docker.version()).await?;
    Ok(EngineInfo {
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        platform: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
    })
}
