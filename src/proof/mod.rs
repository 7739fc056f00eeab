//! Proof: asking a version whether it works, before anybody relies on it.
//!
//! Owns plain HTTP questions to one address, and what is to be asked of each kind of app: pages and
//! their links, the calls of an OpenAPI document, signed and unsigned events. Also which lines of a
//! log say what went wrong. Knows nothing of containers, routes, jobs or the database: it is handed
//! an address, and hands back evidence. Whatever an app answers is data that nobody trusts: bounded in
//! size and time, shown as text.

mod api;
mod ask;
mod css;
mod html;
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
pub use lines::relevant_lines;
pub use signature::{Signature, sign};
pub use site::{Fetched, crawl, page_address};

/// How long all checks of a version may take together.
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// Lines of a wrong answer that are kept as evidence, and their length in characters.
const LINES_MAX: usize = 5;
const LINE_MAX: usize = 240;

/// Where what an app answers is read, off the async threads.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Runs it.
    pub pool: BoundedWork,
    /// Whose text it is.
    pub owner: Owner,
}

#[cfg(test)]
impl Reader {
    /// One with a pool of its own.
    fn alone() -> Self {
        let bounds = crate::bounded_work::PoolBounds::of_processors();
        Self { pool: BoundedWork::new("test", bounds), owner: Owner::Person }
    }
}

/// What is to be asked of a version.
#[derive(Debug, Clone)]
pub struct Smoke<'a> {
    /// Where it answers.
    pub address: SocketAddr,
    /// The host that visitors call it by.
    pub host: &'a str,
    /// Where it says that it is well.
    pub health: &'a str,
    /// Pages that are asked whether or not another leads to them.
    pub pages: &'a [String],
    /// What its template asks for.
    pub kinds: &'a [SmokeKind],
    /// How calls to it are signed, for a webhook.
    pub signing: Option<(Signature, SecretString)>,
    /// Unix seconds.
    pub now: i64,
    /// Where its pages are read.
    pub reader: Reader,
}

/// Asks everything, and answers with the evidence. Never fails: what cannot be asked is a failed check.
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
            note: Some(format!("The checks were not done within {} seconds.", TIME_LIMIT.as_secs())),
            lines: Vec::new(),
        });
    }
    checks
}

/// One question, as a check that `judge` finds right, or wrong for a reason.
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

/// The health path answers as it should.
async fn health(asker: &Asker, smoke: &Smoke<'_>, headers: &[(String, String)]) -> SmokeCheck {
    let question = Question { headers, ..Question::get(smoke.health) };
    asked(asker, smoke, "health", question, |answer| match answer.status {
        200..=399 => Ok(None),
        status => Err(format!("It answered {status}.")),
    })
    .await
}

/// The first lines of a text that hold something, each of bounded length and without control characters.
fn first_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .take(LINES_MAX)
        .collect()
}
