//! Slipway: describe an app, watch it being written, preview it, publish it, roll it back.
//!
//! Data flows one way: a request reaches a service, the service queues a job, the job uses
//! the adapters, and events flow back. Each folder opens with what it owns.

pub mod config;
pub mod domain;
pub mod error;
pub mod events;
pub mod lifecycle;
pub mod store;
pub mod web;
pub mod telemetry;
