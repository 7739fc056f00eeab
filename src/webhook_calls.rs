//! The last calls that webhooks received. Kept in memory, bounded for each app and in all, until the builder ends.
//!
//! Calls are foreign data: what is kept is cut to size, and shown as text. Values of headers that may carry a secret or a
//! signature are not kept.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::domain::{AppId, Environment};

/// Calls that are kept of one app.
const KEPT: usize = 30;
/// Maximum bytes of a body that are kept.
pub const BODY_MAX: usize = 16 * 1024;
/// Maximum number of headers of a call, and of bytes of one.
const HEADERS_MAX: usize = 40;
const HEADER_MAX: usize = 1_000;
/// Maximum bytes of all calls of all apps.
const ALL_MAX: usize = 8 * 1024 * 1024;
/// What stands in the place of a value that is not kept.
pub const WITHHELD: &str = "(not kept)";

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSource {
    /// Another program, at this address.
    Client(IpAddr),
    /// The app's page.
    Page,
}

/// A call before it is kept.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Preview or production.
    pub environment: Environment,
    /// When it arrived.
    pub at: Timestamp,
    /// Where it came from.
    pub source: CallSource,
    /// The status of its answer.
    pub status: u16,
    /// How long the answer took.
    pub millis: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body.
    pub body: Vec<u8>,
    /// The bytes of its whole body.
    pub size: u64,
}

/// A call that was received.
#[derive(Debug, Clone)]
pub struct WebhookCall {
    /// Its id; never used again.
    pub id: u64,
    /// What is kept of it.
    pub call: NewCall,
}

impl WebhookCall {
    /// The whole body was kept, so that the call can be sent again.
    pub fn is_whole(&self) -> bool {
        self.call.body.len() as u64 == self.call.size
    }

    fn bytes(&self) -> usize {
        let headers = self.call.headers.iter().map(|(name, value)| name.len() + value.len() + 48);
        self.call.body.len() + headers.sum::<usize>() + 200
    }
}

/// The calls of all apps.
#[derive(Debug, Default)]
pub struct WebhookCalls(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    bytes: usize,
    apps: HashMap<AppId, VecDeque<Arc<WebhookCall>>>,
}

impl WebhookCalls {
    /// Keeps a call, and drops the oldest ones beyond the bounds.
    pub fn add(&self, app: AppId, mut call: NewCall) {
        call.body.truncate(BODY_MAX);
        call.headers = kept_headers(call.headers);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.last += 1;
        let call = Arc::new(WebhookCall { id: all.last, call });
        all.bytes += call.bytes();
        let calls = all.apps.entry(app).or_default();
        calls.push_back(call);
        if calls.len() > KEPT {
            all.drop_oldest(app);
        }
        while all.bytes > ALL_MAX {
            let oldest = all.apps.iter().min_by_key(|(_, calls)| calls.front().map_or(u64::MAX, |call| call.id));
            let Some(app) = oldest.map(|(app, _)| *app) else { break };
            all.drop_oldest(app);
        }
    }

    /// The kept calls of an environment, newest first.
    pub fn of(&self, app: AppId, environment: Environment) -> Vec<Arc<WebhookCall>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = all.apps.get(&app).into_iter().flatten().rev();
        calls.filter(|call| call.call.environment == environment).cloned().collect()
    }

    /// One call.
    pub fn find(&self, app: AppId, id: u64) -> Option<Arc<WebhookCall>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.apps.get(&app)?.iter().find(|call| call.id == id).cloned()
    }

    /// Forgets an app.
    pub fn forget(&self, app: AppId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for call in all.apps.remove(&app).into_iter().flatten() {
            all.bytes -= call.bytes();
        }
    }
}

impl Kept {
    fn drop_oldest(&mut self, app: AppId) {
        let Some(calls) = self.apps.get_mut(&app) else { return };
        if let Some(call) = calls.pop_front() {
            self.bytes -= call.bytes();
        }
        if calls.is_empty() {
            self.apps.remove(&app);
        }
    }
}

/// Headers as they are kept: cut to size, without those of the connection, and without secrets and signatures.
fn kept_headers(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    const OF_THE_CONNECTION: [&str; 12] = [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "proxy-connection",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ];
    const SECRET: [&str; 8] = ["auth", "cookie", "token", "secret", "password", "signature", "key", "credential"];
    let headers = headers.into_iter().filter_map(|(name, mut value)| {
        let name = name.to_ascii_lowercase();
        if name.len() > HEADER_MAX || OF_THE_CONNECTION.contains(&name.as_str()) {
            return None;
        }
        if SECRET.iter().any(|word| name.contains(word)) {
            WITHHELD.clone_into(&mut value);
        }
        value.truncate(value.floor_char_boundary(HEADER_MAX));
        Some((name, value))
    });
    headers.take(HEADERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(environment: Environment, body: usize) -> NewCall {
        NewCall {
            environment,
            at: Timestamp::UNIX_EPOCH,
            source: CallSource::Page,
            status: 200,
            millis: 3,
            headers: Vec::new(),
            body: vec![b'x'; body],
            size: body as u64,
        }
    }

    #[test]
    fn the_newest_calls_of_each_environment_are_kept() {
        let (calls, app) = (WebhookCalls::default(), AppId(1));
        for n in 0..2 * KEPT {
            calls.add(app, call(if n % 2 == 0 { Environment::Preview } else { Environment::Prod }, n));
        }
        let kept = calls.of(app, Environment::Prod);
        assert_eq!(kept.len(), KEPT / 2);
        assert_eq!(kept[0].call.body.len(), 2 * KEPT - 1, "newest first");
        assert!(kept.iter().all(|call| call.call.environment == Environment::Prod));
        assert!(calls.find(app, kept[0].id).is_some() && calls.find(AppId(2), kept[0].id).is_none());
        assert!(calls.find(app, 1).is_none(), "it was dropped");
        calls.forget(app);
        assert!(calls.of(app, Environment::Preview).is_empty());
        assert_eq!(calls.0.lock().expect("unharmed").bytes, 0);
    }

    #[test]
    fn bodies_and_the_whole_are_bounded() {
        let calls = WebhookCalls::default();
        for n in 0..2_000_i64 {
            calls.add(AppId(n % 60), call(Environment::Preview, BODY_MAX + 1));
        }
        let kept = calls.0.lock().expect("unharmed");
        let bytes: usize = kept.apps.values().flatten().map(|call| call.bytes()).sum();
        assert_eq!(kept.bytes, bytes);
        assert!(bytes <= ALL_MAX && bytes > ALL_MAX - 2 * BODY_MAX, "{bytes}");
        let newest = kept.apps.values().flatten().max_by_key(|call| call.id).expect("some are kept");
        assert_eq!((newest.id, newest.call.body.len(), newest.is_whole()), (2_000, BODY_MAX, false));
    }

    #[test]
    fn secrets_and_signatures_are_not_kept() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let kept = kept_headers(vec![
            header("Content-Type", "application/json"),
            header("Authorization", "Bearer abc"),
            header("Cookie", "a=b"),
            header("X-Api-Key", "abc"),
            header("X-Hub-Signature-256", "sha256=abc"),
            header("X-GitHub-Event", "push"),
            header("X-Forwarded-For", "192.0.2.1"),
            header("X-Long", &"ü".repeat(HEADER_MAX)),
        ]);
        let words: Vec<String> = kept[..6].iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            words,
            [
                "content-type: application/json",
                "authorization: (not kept)",
                "cookie: (not kept)",
                "x-api-key: (not kept)",
                "x-hub-signature-256: (not kept)",
                "x-github-event: push"
            ]
        );
        assert_eq!((kept.len(), kept[6].1.len()), (7, HEADER_MAX));
        let many = kept_headers((0..100).map(|n| (format!("x-{n}"), String::new())).collect());
        assert_eq!(many.len(), HEADERS_MAX);
    }
}
