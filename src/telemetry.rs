//! Logging. Prompts, bodies and secrets are never logged at `info`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs to stderr as `RUST_LOG` says, `info` by default.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Below `info` the engine's client writes whole requests to the log, and with them apps' secrets.
    let filter = filter.add_directive("bollard=info".parse().expect("a fixed, valid directive"));
    // An unavailable cluster is logged once by the caller; its client would log it for each request.
    let filter = filter.add_directive("kube_client::client::builder=off".parse().expect("a fixed, valid directive"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
