//! Slipway: describe an app, watch it being written, preview it, publish it, roll it back.
//!
//! Data flows one way: a request reaches a service, the service queues a job, the job uses
//! the adapters, and events flow back. Each folder opens with what it owns.

pub mod api;
mod boot_script;
pub mod bounded_work;
pub mod browser_errors;
pub mod build;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod engine;
pub mod error;
pub mod events;
pub mod file_limit;
pub mod firewall;
pub mod followed_runs;
pub mod gateway;
pub mod generation;
pub mod guard;
pub mod jobs;
pub mod lifecycle;
pub mod locks;
pub mod measuring;
pub mod memory;
pub mod model_choice;
pub mod model_key;
pub mod output;
pub mod ownership;
pub mod platform;
pub mod proof;
pub mod reconcile;
pub mod runtime;
pub mod secrets;
pub mod server;
pub mod services;
pub mod startup;
pub mod store;
pub mod supervision;
pub mod telemetry;
pub mod uploads;
pub mod web;
pub mod webhook_calls;
pub mod workspace;
pub mod workspace_access;
