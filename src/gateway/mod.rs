//! shim
use crate::domain::{AppName, Environment, ReleaseNumber};
use std::net::SocketAddr;
use std::time::Duration;
#[derive(Clone)]
pub struct Gateway;
impl Gateway {
    pub fn new() -> Self {
        Self
    }
}
pub struct Routes;
pub struct Replaced;
#[derive(Clone, Copy)]
pub struct Upstream {
    pub address: SocketAddr,
    pub release: ReleaseNumber,
}
impl Replaced {
    pub async fn drained(self, _t: Duration) {}
}
impl Gateway {
    pub fn routes(&self) -> &Routes {
        &Routes
    }
}
impl Routes {
    pub fn set(&self, _a: &AppName, _e: Environment, _u: Upstream) -> Option<Replaced> {
        None
    }
    pub fn set_starting(&self, _a: &AppName, _e: Environment) {}
    pub fn set_stopped(&self, _a: &AppName, _e: Environment) {}
    pub fn remove(&self, _a: &AppName, _e: Environment) {}
    pub fn upstream(&self, _a: &AppName, _e: Environment) -> Option<SocketAddr> {
        None
    }
}
