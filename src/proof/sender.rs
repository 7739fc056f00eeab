//! Generates calls like those of real senders, so that no app can distinguish the check from a sender.
//!
//! Each call is generated from random parts in the format of a signature mode's senders: GitHub's and Stripe's
//! own headers, or those of a program with a common HTTP library. It also has the headers that the gateway adds.

use rand::{Rng, RngExt as _};
use serde_json::{Value, json};

use super::signature::Signature;

/// The user agent of an ordinary browser.
pub(super) const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// The content of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// The event with which senders test a new endpoint. Apps answer it without further action.
    Test,
    /// An event on which apps act. Only sent in calls that have to be refused.
    Real,
}

/// A call without its signature.
pub(super) struct Call {
    /// Names and values of headers.
    pub(super) headers: Vec<(String, String)>,
    /// JSON.
    pub(super) body: String,
}

/// A call in the format of this mode's senders. `now` is in unix seconds, `host` is the app's.
pub(super) fn call(signature: Signature, message: Message, host: &str, now: i64, random: &mut impl Rng) -> Call {
    let (body, mut headers) = match signature {
        Signature::Github => github(message, random),
        Signature::Stripe => stripe(message, now, random),
        Signature::Timestamped => program(message, now, random),
    };
    // Real calls never come from documentation networks; these are networks of GitHub and of large clouds.
    let network = ["140.82.115", "192.30.252", "54.187.174", "3.18.12", "35.190.247"][random.random_range(0..5)];
    let client = format!("{network}.{}", random.random_range(1..255));
    headers.extend([
        ("Content-Type", "application/json".to_owned()),
        ("Accept", "*/*".to_owned()),
        ("X-Forwarded-For", client),
        ("X-Forwarded-Host", host.to_owned()),
        ("X-Forwarded-Proto", "https".to_owned()),
    ]);
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Call { headers, body: body.to_string() }
}

type Made = (Value, Vec<(&'static str, String)>);

fn github(message: Message, random: &mut impl Rng) -> Made {
    let hook = random.random_range(100_000_000..600_000_000u64);
    let (owner, name) = (word(random), word(random));
    let repository = json!({
        "id": random.random_range(10_000_000..900_000_000u64), "name": name, "full_name": format!("{owner}/{name}"),
        "private": random.random::<bool>(), "html_url": format!("https://github.com/{owner}/{name}"),
    });
    let sender = json!({"login": owner, "id": random.random_range(1_000..9_000_000u64), "type": "User"});
    let (event, body) = match message {
        Message::Test => {
            let zen =
                ["Design for failure.", "Keep it logically awesome.", "Half measures are as bad as nothing at all."];
            let hook = json!({"type": "Repository", "id": hook, "name": "web", "active": true, "events": ["push"]});
            let zen = zen[random.random_range(0..zen.len())];
            (
                "ping",
                json!({"zen": zen, "hook_id": hook["id"], "hook": hook, "repository": repository, "sender": sender}),
            )
        }
        Message::Real => {
            let (before, after) = (hex(random, 40), hex(random, 40));
            let commit =
                json!({"id": after, "message": format!("Update {}", word(random)), "added": [], "removed": []});
            let body = json!({
                "ref": "refs/heads/main", "before": before, "after": after, "repository": repository,
                "sender": sender, "commits": [commit], "head_commit": commit,
            });
            ("push", body)
        }
    };
    let headers = vec![
        ("User-Agent", format!("GitHub-Hookshot/{}", hex(random, 7))),
        ("X-GitHub-Delivery", uuid(random)),
        ("X-GitHub-Event", event.to_owned()),
        ("X-GitHub-Hook-ID", hook.to_string()),
        ("X-GitHub-Hook-Installation-Target-Type", "repository".to_owned()),
    ];
    (body, headers)
}

fn stripe(message: Message, now: i64, random: &mut impl Rng) -> Made {
    let id = |prefix: &str, random: &mut _| format!("{prefix}_1{}", alphanumeric(random, 23));
    let kind = match message {
        Message::Test => "v2.core.event_destination.ping",
        Message::Real => ["invoice.paid", "charge.succeeded", "checkout.session.completed"][random.random_range(0..3)],
    };
    let object = match message {
        Message::Test => json!({"id": id("ed_test", random), "object": "v2.core.event_destination"}),
        Message::Real => {
            let amount = random.random_range(300..90_000u32);
            json!({"id": id("in", random), "amount_paid": amount, "amount": amount, "currency": "eur", "status": "paid"})
        }
    };
    let body = json!({
        "id": id("evt", random), "object": "event", "api_version": "2025-03-31.basil", "created": now - 1,
        "livemode": random.random::<bool>(), "pending_webhooks": 1, "type": kind, "data": {"object": object},
        "request": {"id": Value::Null, "idempotency_key": uuid(random)},
    });
    (body, vec![("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)".to_owned())])
}

fn program(message: Message, now: i64, random: &mut impl Rng) -> Made {
    let kind = match message {
        Message::Test => "ping",
        Message::Real => ["order.paid", "user.created", "alert.raised", "build.finished"][random.random_range(0..4)],
    };
    let body = json!({"type": kind, "id": uuid(random), "created": now, "data": {"name": word(random)}});
    let agents = ["python-requests/2.32.3", "Go-http-client/1.1", "axios/1.7.9", "okhttp/4.12.0", "GuzzleHttp/7"];
    (body, vec![("User-Agent", agents[random.random_range(0..agents.len())].to_owned())])
}

fn hex(random: &mut impl Rng, length: usize) -> String {
    (0..length).map(|_| char::from(b"0123456789abcdef"[random.random_range(0..16)])).collect()
}

fn alphanumeric(random: &mut impl Rng, length: usize) -> String {
    (0..length).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect()
}

fn word(random: &mut impl Rng) -> String {
    let length = random.random_range(5..11);
    (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

fn uuid(random: &mut impl Rng) -> String {
    let variant = ["8", "9", "a", "b"][random.random_range(0..4)];
    format!("{}-{}-4{}-{variant}{}-{}", hex(random, 8), hex(random, 4), hex(random, 3), hex(random, 3), hex(random, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_do_not_name_the_platform_and_are_all_different() {
        let mut random = rand::rng();
        for signature in [Signature::Github, Signature::Stripe, Signature::Timestamped] {
            let mut bodies = std::collections::BTreeSet::new();
            for message in [Message::Test, Message::Real, Message::Test, Message::Real] {
                let call = call(signature, message, "hook-preview.example.org", 1_800_000_000, &mut random);
                let said = format!("{:?} {}", call.headers, call.body).to_lowercase();
                for word in ["slipway", "proof", "check"] {
                    assert!(!said.replace("checkout", "").contains(word), "{said}");
                }
                let agents = call.headers.iter().filter(|(name, _)| name == "User-Agent").count();
                assert_eq!(agents, 1, "{said}");
                bodies.insert(call.body);
            }
            assert_eq!(bodies.len(), 4);
        }
    }
}
