//! Signatures of calls to a webhook.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::Invalid;

/// The signature mode in `app.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// `X-Timestamp` and `X-Signature-256`.
    Timestamped,
    /// `X-Hub-Signature-256`, as GitHub does.
    Github,
    /// `Stripe-Signature`, as Stripe does.
    Stripe,
}

impl Signature {
    /// Parses the value in `app.toml`; without a value, the default.
    pub fn parse(mode: Option<&str>) -> Result<Self, Invalid> {
        match mode.unwrap_or("timestamped") {
            "timestamped" => Ok(Self::Timestamped),
            "github" => Ok(Self::Github),
            "stripe" => Ok(Self::Stripe),
            other => Err(Invalid::new(format!(
                "app.toml has signature = “{other}”, which is unknown: use timestamped, github or stripe."
            ))),
        }
    }

    /// Whether a call with an old signature is refused.
    pub(super) fn ages(self) -> bool {
        self != Self::Github
    }
}

/// The headers of a call with a valid signature at `now`, which the template's `verify.py` checks.
pub fn sign(signature: Signature, secret: &str, now: i64, body: &str) -> Vec<(String, String)> {
    let mac = |message: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(message.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    };
    let header = |name: &str, value: String| (name.to_owned(), value);
    match signature {
        Signature::Timestamped => vec![
            header("X-Timestamp", now.to_string()),
            header("X-Signature-256", format!("sha256={}", mac(&format!("{now}.{body}")))),
        ],
        Signature::Github => vec![header("X-Hub-Signature-256", format!("sha256={}", mac(body)))],
        Signature::Stripe => {
            vec![header("Stripe-Signature", format!("t={now},v1={}", mac(&format!("{now}.{body}"))))]
        }
    }
}
