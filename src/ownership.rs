//! Labels: what carries them is ours, and only what carries them is ever removed.

use std::collections::HashMap;

use crate::domain::{AppId, AppName, Invalid, validated_string};

/// Key that says who manages a thing.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value on everything of ours.
pub const MANAGED_BY_SLIPWAY: &str = "slipway";
/// The app's name.
pub const APP: &str = "slipway.dev/app";
/// The app's number, which is never used again.
pub const APP_ID: &str = "slipway.dev/app-id";
/// `preview` or `prod`.
pub const ENVIRONMENT: &str = "slipway.dev/environment";
/// Release number within app and environment.
pub const RELEASE: &str = "slipway.dev/release";
/// Number of a run of a scheduled job.
pub const RUN: &str = "slipway.dev/run";
/// Port that a service listens on.
pub const PORT: &str = "slipway.dev/port";
/// IPv4 address that a container has for its whole life.
pub const ADDRESS: &str = "slipway.dev/address";
/// Which builder's thing it is, where several share an engine.
pub const INSTALLATION: &str = "slipway.dev/installation";

/// How the names of all builders' bridge interfaces begin.
pub const INTERFACE_PREFIX: &str = "slp";
/// The engine's option that names a network's bridge interface.
pub const INTERFACE_OPTION: &str = "com.docker.network.bridge.name";

validated_string! {
    /// A builder among those that share an engine: 1–16 lowercase letters and digits, made once
    /// and kept with the builder's data. A builder sees and removes only its own things.
    Installation, check_installation
}

fn check_installation(text: &str) -> Result<(), Invalid> {
    if (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(Invalid::new("An installation is named by 1 to 16 lowercase letters and digits."))
    }
}

impl Installation {
    /// The labels of everything that belongs to this builder.
    pub fn own_labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (MANAGED_BY.to_owned(), MANAGED_BY_SLIPWAY.to_owned()),
            (INSTALLATION.to_owned(), self.to_string()),
        ])
    }

    /// The labels of everything that belongs to an app.
    pub fn labels(&self, app: &AppName, app_id: AppId) -> HashMap<String, String> {
        let mut labels = self.own_labels();
        labels.extend([(APP.to_owned(), app.to_string()), (APP_ID.to_owned(), app_id.to_string())]);
        labels
    }

    /// How the names of this builder's bridge interfaces begin. The kernel allows 15 bytes, so this is not the whole
    /// name of the installation; each network adds six more characters of its own.
    pub fn interface_prefix(&self) -> String {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(self.as_str());
        format!("{INTERFACE_PREFIX}{}", hex::encode(&digest[..3]))
    }

    /// A name for the bridge interface of a new network.
    pub fn new_interface(&self) -> String {
        format!("{}{}", self.interface_prefix(), hex::encode(rand::random::<[u8; 3]>()))
    }

    /// Filter for all that is ours.
    pub fn filter(&self) -> HashMap<String, Vec<String>> {
        let ours = format!("{MANAGED_BY}={MANAGED_BY_SLIPWAY}");
        HashMap::from([("label".to_owned(), vec![ours, format!("{INSTALLATION}={self}")])])
    }

    /// Filter for what belongs to one app.
    pub fn app_filter(&self, app: &AppName, app_id: AppId) -> HashMap<String, Vec<String>> {
        let mut filter = self.filter();
        if let Some(labels) = filter.get_mut("label") {
            labels.extend([format!("{APP}={app}"), format!("{APP_ID}={app_id}")]);
        }
        filter
    }
}
