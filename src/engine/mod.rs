//! The line to the container engine: how it is reached, and what its errors mean.
//!
//! Lies below `build` and `runtime`, which both speak to the engine and do not know each other.
//! Knows nothing of apps' settings, images or networks.

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

/// Longest wait for an answer that needs no work: lists, inspections, tags.
pub const QUICK: Duration = Duration::from_secs(15);
/// Longest wait for an answer that needs work: making, starting and removing things.
pub const SLOW: Duration = Duration::from_mins(1);

/// Waits for one call to the engine, with a timeout.
///
/// # Errors
/// What the engine answered, or [`Fault::Unavailable`] when it did not answer within `limit`.
pub async fn call<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(Fault::from),
        Err(_) => Err(Fault::Unavailable(format!("it has not answered for {} seconds", limit.as_secs()))),
    }
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version, such as `28.2.2`.
    pub version: String,
    /// The API version that it speaks, such as `1.41`.
    pub api_version: String,
    /// Operating system and architecture, such as `linux/amd64`.
    pub platform: String,
}

/// Asks the engine who it is.
///
/// # Errors
/// [`Fault::Unavailable`] when nobody answers.
pub async fn ping(docker: &Docker) -> Result<EngineInfo, Fault> {
    let version = call(Duration::from_secs(5), docker.version()).await?;
    Ok(EngineInfo {
        version: version.version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        platform: format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()),
    })
}
