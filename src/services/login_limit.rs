//! Rate limits of login attempts.
//!
//! There are two kinds of callers. A browser that has logged in before has a signed cookie, and its attempts are counted
//! separately: strangers who guess, even from the same address, cannot lock the user out. Other attempts
//! are counted by address (IPv6: by /64), and all of them together have a limit too, so that many
//! addresses do not allow many guesses. All state is bounded.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock, QuantaInstant};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use tokio::sync::OnceCell;

use super::Services;
use crate::error::{AppError, AppResult, ErrorKind};
use crate::store::server_keys::KEY_BYTES;

/// How long a browser stays known after a login, in days. Browsers limit cookies to 400 days.
pub const KNOWN_DAYS: i64 = 365;
/// Burst of attempts of one address or one known browser; after it one attempt per [`EVERY`] is allowed.
const BURST: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");
const EVERY: Duration = Duration::from_secs(12);
/// The same for all unknown browsers together.
const ALL_BURST: NonZeroU32 = NonZeroU32::new(60).expect("sixty is not zero");
const ALL_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of addresses, and of browsers, that are counted at once. More have tried within a minute only in an
/// attack from very many addresses: then new addresses wait until old ones expire.
const COUNTED_MAX: usize = 4096;
/// The key's name in the store.
const KEY_NAME: &str = "known_browsers";

/// A browser that has logged in before, proven by its cookie's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KnownBrowser(u64);

/// A login attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The client's address.
    pub from: IpAddr,
    /// The browser, if it is known.
    pub browser: Option<KnownBrowser>,
}

/// Counters of attempts.
pub struct LoginLimit {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    all: DefaultDirectRateLimiter,
    browsers: DefaultKeyedRateLimiter<KnownBrowser>,
    /// Signs the cookies of known browsers.
    key: OnceCell<[u8; KEY_BYTES]>,
}

impl LoginLimit {
    pub(super) fn new() -> Self {
        let each = Quota::with_period(EVERY).expect("the period is not zero").allow_burst(BURST);
        let all = Quota::with_period(ALL_EVERY).expect("the period is not zero").allow_burst(ALL_BURST);
        Self {
            addresses: RateLimiter::keyed(each),
            all: RateLimiter::direct(all),
            browsers: RateLimiter::keyed(each),
            key: OnceCell::new(),
        }
    }

    /// Counts one attempt, or rejects it.
    pub(super) fn check(&self, attempt: &Attempt) -> AppResult<()> {
        if let Some(browser) = attempt.browser {
            return counted(&self.browsers, &browser, "Too many attempts from this browser.");
        }
        counted(&self.addresses, &network(attempt.from), "Too many attempts from your address.")?;
        self.all.check().map_err(|wait| refused("Too many login attempts.", Some(&wait)))
    }
}

/// An address, or for IPv6 its /64, because a client usually controls all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn counted<K: Hash + Eq + Clone>(counts: &DefaultKeyedRateLimiter<K>, key: &K, words: &str) -> AppResult<()> {
    if counts.len() >= COUNTED_MAX {
        counts.retain_recent();
        if counts.len() >= COUNTED_MAX {
            return Err(refused("Too many login attempts.", None));
        }
    }
    counts.check_key(key).map_err(|wait| refused(words, Some(&wait)))
}

fn refused(words: &str, wait: Option<&NotUntil<QuantaInstant>>) -> AppError {
    let wait = wait.map_or(EVERY, |wait| wait.wait_time_from(DefaultClock::default().now()));
    let seconds = wait.as_secs() + 1;
    AppError::new(ErrorKind::TooManyRequests, "too_many_logins", words)
        .hint(format!("Try again in {seconds} seconds."))
        .retry_after(seconds)
}

impl Services {
    /// The browser of the first valid mark that has not expired. There may be several marks,
    /// because another host of the domain can set cookies with the same name.
    pub async fn known_browser(&self, marks: impl Iterator<Item = &str>) -> AppResult<Option<KnownBrowser>> {
        let mut marks = marks.peekable();
        if marks.peek().is_none() {
            return Ok(None);
        }
        let (key, now) = (self.browser_key().await?, self.now());
        Ok(marks.find_map(|mark| read(mark, &key, now)))
    }

    /// A mark for a browser that has just logged in; a known browser keeps its id.
    pub async fn browser_mark(&self, browser: Option<KnownBrowser>) -> AppResult<String> {
        let browser = browser.unwrap_or_else(|| KnownBrowser(rand::random()));
        Ok(written(browser, &self.browser_key().await?, self.now()))
    }

    async fn browser_key(&self) -> AppResult<[u8; KEY_BYTES]> {
        let made = || self.platform.store.server_key(KEY_NAME, rand::random());
        Ok(*self.access.limit.key.get_or_try_init(made).await?)
    }
}

/// `<id>.<seconds since 1970>.<signature of both>`.
fn written(KnownBrowser(id): KnownBrowser, key: &[u8; KEY_BYTES], now: Timestamp) -> String {
    let said = format!("{id:016x}.{}", now.as_second());
    let signature = hex::encode(signature(&said, key).finalize().into_bytes());
    format!("{said}.{signature}")
}

fn read(mark: &str, key: &[u8; KEY_BYTES], now: Timestamp) -> Option<KnownBrowser> {
    let (said, proof) = mark.rsplit_once('.')?;
    let mut proven = [0; 32];
    hex::decode_to_slice(proof, &mut proven).ok()?;
    signature(said, key).verify_slice(&proven).ok()?;
    let (id, since) = said.split_once('.')?;
    let since = Timestamp::from_second(since.parse().ok()?).ok()?;
    let is_young = now.duration_since(since) < SignedDuration::from_hours(24 * KNOWN_DAYS);
    is_young.then_some(KnownBrowser(u64::from_str_radix(id, 16).ok()?))
}

fn signature(said: &str, key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(said.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Attempt {
        Attempt { from: address.parse().expect("an address"), browser: None }
    }

    fn passed(limit: &LoginLimit, attempts: impl Iterator<Item = Attempt>) -> usize {
        attempts.filter(|attempt| limit.check(attempt).is_ok()).count()
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limit = LoginLimit::new();
        assert_eq!(passed(&limit, (0..200).map(|n| from(&format!("2001:db8::{n:x}")))), 5);
        assert_eq!(passed(&limit, (0..20).map(|_| from("192.0.2.1"))), 5);
        assert_eq!(passed(&limit, (0..20).map(|_| from("::ffff:192.0.2.1"))), 0);
        let error = limit.check(&from("192.0.2.1")).expect_err("refused");
        assert!(error.retry_after.is_some_and(|seconds| (1..=12).contains(&seconds)));
    }

    #[test]
    fn many_addresses_share_a_limit_that_does_not_apply_to_known_browsers() {
        let limit = LoginLimit::new();
        let crowd = (0..20_000_u32).map(|n| from(&std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string()));
        let guesses = passed(&limit, crowd);
        assert!((60..=70).contains(&guesses), "{guesses}");
        assert!(limit.addresses.len() <= COUNTED_MAX);
        let known = |id| Attempt { browser: Some(KnownBrowser(id)), ..from("10.0.0.1") };
        assert_eq!(passed(&limit, (0..20).map(|_| known(1))), 5);
        assert_eq!(passed(&limit, (0..20).map(|_| known(2))), 5);
    }

    #[test]
    fn a_mark_needs_a_valid_signature() {
        let at = |seconds| Timestamp::from_second(seconds).expect("in range");
        let key = [7; KEY_BYTES];
        let mark = written(KnownBrowser(42), &key, at(1000));
        assert_eq!(read(&mark, &key, at(2000)), Some(KnownBrowser(42)));
        assert_eq!(read(&mark, &[8; KEY_BYTES], at(2000)), None);
        assert_eq!(read(&mark, &key, at(1000 + KNOWN_DAYS * 24 * 60 * 60)), None);
        assert_eq!(read(&mark.replacen("2a", "2b", 1), &key, at(2000)), None);
        for garbage in ["", ".", "..", "2a.1000", &mark[1..], &mark[..mark.len() - 1], "\u{fc}.\u{fc}.\u{fc}"] {
            assert_eq!(read(garbage, &key, at(2000)), None, "{garbage}");
        }
    }
}
