//! The demo model.

/// The demo model's id.
pub const DEMO_MODEL: &str = "slipway-demo";
