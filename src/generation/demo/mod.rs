//! The demo model.

/// The demo model's id.
pub const DEMO_MODEL: &str = "slipway-demo";
pub struct DemoPace;
impl DemoPace {
    pub fn new(_p: f64) -> Self {
        Self
    }
}
pub struct DemoModel {
    pub base_url: String,
    pub key: secrecy::SecretString,
}
impl DemoModel {
    pub async fn start(_p: DemoPace, _c: tokio_util::sync::CancellationToken) -> std::io::Result<Self> {
        Err(std::io::Error::other("shim"))
    }
}
