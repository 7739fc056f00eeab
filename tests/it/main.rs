//! All integration tests in one binary, so that the crate is linked once. `scripts/test rust` runs everything but
//! `kubernetes`, which needs a cluster and is run by `scripts/test kubernetes` (`.config/nextest.toml`).

mod agent;
mod api;
#[path = "support/asking.rs"]
mod asking;
#[path = "support/fake_claude.rs"]
mod fake_claude;
mod flow;
mod kill;
mod kubernetes;
mod model;
mod model_faults;
mod support;
