//! The product on real parts, through its HTTP API: the real binary, git, a real Docker engine.

#[path = "../support/fake_claude.rs"]
mod fake_claude;
#[path = "../support/mod.rs"]
mod support;

mod browser_errors;
mod failures;
mod files;
mod follow;
mod gateway;
mod jobs;
mod lifecycle;
mod load;
mod proof;
mod registry;
mod startup;
mod streams;
mod templates;
mod turns;
