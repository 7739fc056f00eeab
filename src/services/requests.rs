//! The requests that the gateway has forwarded to an app.

use std::sync::Arc;

use super::Services;
use crate::domain::{App, Environment};
use crate::gateway::Seen;
use crate::runtime::Reach;

impl Services {
    /// What the gateway has seen of an app; none if nothing of it was deployed since the builder's start.
    pub fn seen(&self, app: &App) -> Option<Arc<Seen>> {
        self.platform.gateway.routes().seen(&app.name)
    }

    /// Whether the environment's requests pass the gateway. Otherwise they reach the app through the cluster's Ingress.
    pub fn is_seen(&self, environment: Environment) -> bool {
        let reach = match environment {
            Environment::Preview => self.platform.runtime.previews,
            Environment::Prod => self.platform.runtime.production,
        };
        reach == Reach::Gateway
    }
}
