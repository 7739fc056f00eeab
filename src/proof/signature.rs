//! How calls to a webhook are signed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::Invalid;

/// How callers sign, as `app.toml` says it.
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
    /// The word of `app.toml`; the default where it says none.
    pub fn parse(mode: Option<&str>) -> Result<Self, Invalid> {
        match mode.unwrap_or("timestamped") {
            "timestamped" => Ok(Self::Timestamped),
            "github" => Ok(Self::Github),
            "stripe" => Ok(Self::Stripe),
            other => Err(Invalid::new(format!(
                "app.toml says signature = “{other}”, which is not known: it is timestamped, github or stripe."
            ))),
        }
    }

    /// Whether a call that was signed long ago is refused.
    pub(super) fn ages(self) -> bool {
        self != Self::Github
    }
}

/// The headers of a call that is rightly signed at `now`, as the template's `verify.py` checks them.
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
