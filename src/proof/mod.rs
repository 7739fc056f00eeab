//! Smoke tests of a version before traffic switches to it.
//!
//! Owns plain HTTP requests to one address, and the checks for each kind of app: pages and
//! their links, the calls of an OpenAPI document, signed and unsigned events. It also finds the lines of a
//! log that show an error. Independent of containers, routes, jobs and the database: it gets
//! an address and returns evidence. An app's responses are untrusted data: limited in
//! size and time, and shown as text.

mod api;
mod ask;
mod css;
mod html;
mod key_lines;
mod lines;
mod sender;
mod signature;
mod site;
mod webhook;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use crate::bounded_work::{BoundedWork, Owner};
use crate::domain::{SmokeCheck, SmokeKind};

pub use ask::{Answer, AskError, Asker, Question};
pub use key_lines::{LOG_HEADING, cause, key_lines, named_files};
pub use lines::relevant_lines;
pub use signature::{Signature, sign};
pub use site::{Fetched, crawl, page_address};

/// Timeout of all checks of a version together.
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// Maximum lines of a wrong response that are stored, and their length in characters.
const LINES_MAX: usize = 5;
const LINE_MAX: usize = 240;

/// The pool that parses responses off the async threads.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The pool.
    pub pool: BoundedWork,
    /// The owner of the text.
    pub owner: Owner,
}

#[cfg(test)]
impl Reader {
    /// A reader with its own pool.
    fn alone() -> Self {
        let bounds = crate::bounded_work::PoolBounds::of_processors();
        Self { pool: BoundedWork::new("test", bounds), owner: Owner::Person }
    }
}

/// The smoke test of a version.
#[derive(Debug, Clone)]
pub struct Smoke<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// The host of its visitors.
    pub host: &'a str,
    /// Its health path.
    pub health: &'a str,
    /// Pages that are checked even without a link to them.
    pub pages: &'a [String],
    /// The checks of its template.
    pub kinds: &'a [SmokeKind],
    /// The signature of calls, for a webhook.
    pub signing: Option<(Signature, SecretString)>,
    /// Unix seconds.
    pub now: i64,
    /// The parser of its pages.
    pub reader: Reader,
}

/// Runs all checks and returns their results. Never fails: a request that cannot be sent is a failed check.
pub fn smoke<'a>(asker: &'a Asker, smoke: &'a Smoke<'a>) -> BoxFuture<'a, Vec<SmokeCheck>> {
    Box::pin(all(asker, smoke))
}

async fn all(asker: &Asker, smoke: &Smoke<'_>) -> Vec<SmokeCheck> {
    let mut checks = Vec::new();
    let all = async {
        for kind in smoke.kinds {
            match kind {
                SmokeKind::Links => site::check(asker, smoke, &mut checks).await,
                SmokeKind::Openapi => api::check(asker, smoke, &mut checks).await,
                SmokeKind::Signatures => webhook::check(asker, smoke, &mut checks).await,
            }
        }
    };
    if tokio::time::timeout(TIME_LIMIT, all).await.is_err() {
        checks.push(SmokeCheck {
            what: "the rest".to_owned(),
            method: "GET".to_owned(),
            path: smoke.health.to_owned(),
            ok: false,
            status: None,
            millis: u64::try_from(TIME_LIMIT.as_millis()).unwrap_or(u64::MAX),
            note: Some(format!("The checks did not finish within {} seconds.", TIME_LIMIT.as_secs())),
            lines: Vec::new(),
        });
    }
    checks
}

/// One request as a check; `judge` decides whether it passed.
async fn asked(
    asker: &Asker,
    smoke: &Smoke<'_>,
    what: &str,
    question: Question<'_>,
    judge: impl FnOnce(&Answer) -> Result<Option<String>, String>,
) -> SmokeCheck {
    let (method, path) = (question.method.to_owned(), question.path.to_owned());
    let answer = asker.ask(smoke.address, Question { host: smoke.host, ..question }).await;
    let check = SmokeCheck {
        what: what.to_owned(),
        method,
        path,
        ok: false,
        status: None,
        millis: 0,
        note: None,
        lines: Vec::new(),
    };
    match answer {
        Err(error) => SmokeCheck { note: Some(error.to_string()), ..check },
        Ok(answer) => {
            let check = SmokeCheck { status: Some(answer.status), millis: answer.millis, ..check };
            match judge(&answer) {
                Ok(note) => SmokeCheck { ok: true, note, ..check },
                Err(why) => SmokeCheck { note: Some(why), lines: first_lines(&answer.text()), ..check },
            }
        }
    }
}

/// Checks the health path.
async fn health(asker: &Asker, smoke: &Smoke<'_>, headers: &[(String, String)]) -> SmokeCheck {
    let question = Question { headers, ..Question::get(smoke.health) };
    asked(asker, smoke, "health", question, |answer| match answer.status {
        200..=399 => Ok(None),
        status => Err(format!("It answered {status}.")),
    })
    .await
}

/// The first non-empty lines of a text, truncated and without control characters.
fn first_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .take(LINES_MAX)
        .collect()
}
