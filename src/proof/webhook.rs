//! Checks a webhook's signatures: only calls with a valid signature may be accepted.

use rand::seq::SliceRandom as _;
use secrecy::ExposeSecret;

use super::sender::{self, Message};
use super::signature::sign;
use super::{Asker, Question, Smoke, asked, health};
use crate::domain::SmokeCheck;

/// The path of calls.
const PATH: &str = "/webhook";
/// An age of a signature, in seconds, that has to be refused.
const STALE: i64 = 900;

pub(super) async fn check(asker: &Asker, smoke: &Smoke<'_>, checks: &mut Vec<SmokeCheck>) {
    let visitor = ("User-Agent".to_owned(), sender::BROWSER.to_owned());
    checks.push(health(asker, smoke, &[visitor]).await);
    let Some((signature, secret)) = &smoke.signing else {
        checks.push(SmokeCheck {
            what: "rightly signed call".to_owned(),
            method: "POST".to_owned(),
            path: PATH.to_owned(),
            ok: false,
            status: None,
            millis: 0,
            note: Some("There is no secret for signatures: only apps of the kind “webhook” have one.".to_owned()),
            lines: Vec::new(),
        });
        return;
    };
    let secret = secret.expose_secret();
    let now = smoke.now;
    let wrong = format!("whsec_{}", hex::encode(rand::random::<[u8; 20]>()));
    let mut calls = vec![
        ("rightly signed call", Message::Test, Some((secret, now))),
        ("wrongly signed call", Message::Real, Some((wrong.as_str(), now))),
        ("unsigned call", Message::Real, None),
        ("unsigned test call", Message::Test, None),
    ];
    if signature.ages() {
        calls.push(("stale call", Message::Real, Some((secret, now - STALE))));
    }
    let mut calls: Vec<_> = {
        let mut random = rand::rng();
        let made = calls.into_iter().map(|(what, message, signed)| {
            let mut call = sender::call(*signature, message, smoke.host, now, &mut random);
            if let Some((secret, at)) = signed {
                call.headers.extend(sign(*signature, secret, at, &call.body));
            }
            (what, call)
        });
        made.enumerate().collect()
    };
    // In random order, so that an app cannot recognise them; shown in the usual order.
    calls.shuffle(&mut rand::rng());
    let mut evidence = Vec::new();
    for (place, (what, call)) in calls {
        let is_right = what == "rightly signed call";
        let body = call.body.into_bytes();
        let question = Question { method: "POST", headers: &call.headers, body, ..Question::get(PATH) };
        evidence.push((place, asked(asker, smoke, what, question, |answer| judge(is_right, answer.status)).await));
    }
    evidence.sort_by_key(|(place, _)| *place);
    checks.extend(evidence.into_iter().map(|(_, check)| check));
}

/// Judges the response to a call: a note if it is right, or the error.
fn judge(is_right: bool, status: u16) -> Result<Option<String>, String> {
    match (is_right, status) {
        (true, 200..=299) => Ok(Some("It was accepted.".to_owned())),
        (true, 401 | 403) => Err("It was refused.".to_owned()),
        (true, 404 | 405) => Err("The app does not accept calls at this path.".to_owned()),
        (true, 500..) => Err(format!("It answered {status}: handle(event) failed for an unknown event.")),
        // Senders disable endpoints that answer like this to events that they do not handle.
        (true, _) => Err(format!(
            "It answered {status}: handle(event) has to answer unknown events with success and leave them \
             alone."
        )),
        (false, 401) => Ok(Some("It was refused.".to_owned())),
        (false, _) => Err(format!("It answered {status}: it has to be refused with 401.")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::super::Signature;
    use super::*;

    #[test]
    fn only_2xx_is_acceptance_and_only_401_is_a_refusal() {
        assert!(judge(true, 200).is_ok() && judge(true, 204).is_ok() && judge(false, 401).is_ok());
        for status in [302, 400, 401, 404, 422, 500] {
            assert!(judge(true, status).is_err(), "{status}");
        }
        for status in [200, 400, 403, 500] {
            assert!(judge(false, status).is_err(), "{status}");
        }
    }

    #[tokio::test]
    async fn without_a_secret_the_check_fails() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let smoke = Smoke {
            address: ([127, 0, 0, 1], 1).into(),
            host: "localhost",
            health: "/health",
            pages: &[],
            kinds: &[],
            signing: None,
            now: 17,
            reader: Reader::alone(),
        };
        let mut checks = Vec::new();
        check(&Asker::default(), &smoke, &mut checks).await;
        assert!(!checks[1].ok && checks[1].line().contains("no secret"), "{checks:?}");
    }

    #[test]
    fn signatures_match_the_contract() {
        // Computed with `printf 17.{} | openssl dgst -sha256 -hmac secret`.
        let headers = sign(Signature::parse(None).expect("known"), "secret", 17, "{}");
        assert_eq!(headers[0], ("X-Timestamp".to_owned(), "17".to_owned()));
        assert_eq!(headers[1].1, "sha256=8af83b0673ef7fdabfca93bc1f9c0893a4de95938051a9959b16f9e2a9e16802");
        assert_eq!(sign(Signature::Github, "secret", 17, "{}")[0].0, "X-Hub-Signature-256");
        assert!(sign(Signature::Stripe, "secret", 17, "{}")[0].1.starts_with("t=17,v1="));
        assert!(Signature::parse(Some("none")).is_err());
    }
}
