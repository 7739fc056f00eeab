//! Sample calls to a webhook, with the bodies and headers of known senders. Pure.

use crate::domain::words;
use crate::proof::Signature;

/// The sender of a sample call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// A program that signs as Slipway's template asks for by default.
    #[default]
    Slipway,
    /// GitHub: a push.
    Github,
    /// Stripe: a paid invoice.
    Stripe,
}

words!(Sample { Slipway = "slipway", Github = "github", Stripe = "stripe" });

impl Sample {
    /// All samples.
    pub const ALL: [Self; 3] = [Self::Slipway, Self::Github, Self::Stripe];

    /// The sample for an app whose calls are signed in this way.
    pub fn of_signature(signature: Option<Signature>) -> Self {
        match signature {
            Some(Signature::Github) => Self::Github,
            Some(Signature::Stripe) => Self::Stripe,
            Some(Signature::Timestamped) | None => Self::Slipway,
        }
    }

    /// The mode in `app.toml` in which its sender signs.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Slipway => "timestamped",
            Self::Github => "github",
            Self::Stripe => "stripe",
        }
    }

    /// The name of the sender.
    pub fn title(self) -> &'static str {
        match self {
            Self::Slipway => "Slipway",
            Self::Github => "GitHub",
            Self::Stripe => "Stripe",
        }
    }

    /// The headers that its sender adds, without the signature.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Slipway => &[],
            Self::Github => &[
                ("User-Agent", "GitHub-Hookshot/044aadd"),
                ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
                ("X-GitHub-Event", "push"),
                ("X-GitHub-Hook-ID", "292430182"),
                ("X-GitHub-Hook-Installation-Target-Type", "repository"),
            ],
            Self::Stripe => &[("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")],
        }
    }

    /// A body as its sender sends it, shortened.
    pub fn body(self) -> &'static str {
        match self {
            Self::Slipway => "{\n  \"type\": \"test\",\n  \"hello\": \"from Slipway\"\n}",
            Self::Github => {
                r#"{
  "ref": "refs/heads/main",
  "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
  "after": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5",
  "repository": {
    "id": 186853002,
    "name": "Hello-World",
    "full_name": "Codertocat/Hello-World",
    "html_url": "https://github.com/Codertocat/Hello-World"
  },
  "pusher": { "name": "Codertocat", "email": "codertocat@example.org" },
  "commits": [
    {
      "id": "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5",
      "message": "Update README.md",
      "timestamp": "2026-01-31T12:00:00Z",
      "author": { "name": "Codertocat", "email": "codertocat@example.org" },
      "added": [],
      "removed": [],
      "modified": ["README.md"]
    }
  ]
}"#
            }
            Self::Stripe => {
                r#"{
  "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy",
  "object": "event",
  "type": "invoice.paid",
  "created": 1767182400,
  "livemode": false,
  "data": {
    "object": {
      "id": "in_1NG8Du2eZvKYlo2Cu2lrvV1H",
      "object": "invoice",
      "amount_paid": 2000,
      "currency": "eur",
      "customer_email": "customer@example.org",
      "status": "paid"
    }
  }
}"#
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_json_of_their_senders() {
        for sample in Sample::ALL {
            let body: serde_json::Value = serde_json::from_str(sample.body()).expect("JSON");
            assert!(body["type"].is_string() || sample == Sample::Github, "{sample:?}");
            assert_eq!(Sample::of_signature(Signature::parse(Some(sample.mode())).ok()), sample);
            let signs = |name: &str| name.to_lowercase().contains("signature");
            assert!(sample.headers().iter().all(|(name, _)| !signs(name)));
        }
        assert_eq!(Sample::of_signature(None), Sample::Slipway);
    }
}
