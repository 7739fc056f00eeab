//! The pages of one app.

pub mod bar;
pub mod deployment;
pub mod files_view;
pub mod history_views;
pub mod page;
pub mod preview_views;
pub mod turn_view;
