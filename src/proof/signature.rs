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
    pub fn ages(self) -> bool {
        self != Self::Github
    }
}

/// The headers of a call with a valid signature at `now`, which the template's `verify.py` checks.
pub fn sign(signature: Signature, secret: &str, now: i64, body: impl AsRef<[u8]>) -> Vec<(String, String)> {
    let mac = |parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        hex::encode(mac.finalize().into_bytes())
    };
    let body = body.as_ref();
    let timed = || mac(&[now.to_string().as_bytes(), b".", body]);
    let header = |name: &str, value: String| (name.to_owned(), value);
    match signature {
        Signature::Timestamped => {
            vec![header("X-Timestamp", now.to_string()), header("X-Signature-256", format!("sha256={}", timed()))]
        }
        Signature::Github => vec![header("X-Hub-Signature-256", format!("sha256={}", mac(&[body])))],
        Signature::Stripe => vec![header("Stripe-Signature", format!("t={now},v1={}", timed()))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl dgst -sha256 -hmac`.
    #[test]
    fn signatures_are_those_of_the_senders() {
        let signed =
            |mode, secret: &str, body: &str| sign(Signature::parse(mode).expect("known"), secret, 1_700_000_000, body);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            signed(Some("github"), "It's a Secret to Everybody", "Hello, World!"),
            [header("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")]
        );
        let timed = "beb1fa7d13c36445e01121e219da2b230935f4374cc0469acd5510acc15e965b";
        assert_eq!(
            signed(None, "whsec_1", "{\"a\": \"ü\"}"),
            [header("X-Timestamp", "1700000000"), header("X-Signature-256", &format!("sha256={timed}"))]
        );
        assert_eq!(
            signed(Some("stripe"), "whsec_1", "{\"a\": \"ü\"}"),
            [header("Stripe-Signature", &format!("t=1700000000,v1={timed}"))]
        );
    }
}
