//! Access to drafts and previews: a browser needs a pass. A logged-in browser gets one with a ticket, which the builder's
//! host issues for the preview's host; other browsers get one with a share link.
//!
//! A ticket is valid for one place of one app, for one use and for a minute. It is kept in memory: after a restart the browser
//! is redirected to get a new one. Passes end with the session or the link that they were issued for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use super::Services;
use super::access::SESSION_DAYS;
use super::secret::{hash, random_secret};
use crate::browser_errors::Place;
use crate::domain::{App, AppName, Environment, HostName, words};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::gateway::inject::PREFIX;
use crate::store::StoreError;
use crate::store::preview_access::{PassSource, PreviewLink};

/// Lifetime of a ticket.
const TICKET_LIFE: Duration = Duration::from_mins(1);
/// Maximum number of unused tickets; a new one replaces the oldest.
const TICKETS_MAX: usize = 1_000;
/// Maximum number of active share links of an app.
const LINKS_MAX: u32 = 100;
/// Path below [`PREFIX`] on the host of a draft or a preview that redeems tickets and links.
pub const ENTER: &str = "enter";

/// Lifetime of a share link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub enum LinkLife {
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day.
    #[default]
    #[serde(rename = "1d")]
    Day,
    /// A week.
    #[serde(rename = "7d")]
    Week,
}

words!(LinkLife { Hour = "1h", Day = "1d", Week = "7d" });

impl LinkLife {
    /// All lifetimes, shortest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hour => "1 hour",
            Self::Day => "1 day",
            Self::Week => "7 days",
        }
    }

    fn duration(self) -> SignedDuration {
        SignedDuration::from_hours(match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
        })
    }
}

/// A pass for a browser: the secret of its cookie, and its expiry.
pub struct Pass {
    /// The secret in the cookie.
    pub secret: SecretString,
    /// The latest time at which the pass ends.
    pub until: Timestamp,
    /// When it was issued.
    pub at: Timestamp,
}

struct Ticket {
    hash: String,
    app: AppName,
    place: Place,
    /// The hash of the session that requested it.
    session: String,
    until: Instant,
}

/// Unused tickets, oldest first.
#[derive(Default)]
pub struct Tickets(Mutex<VecDeque<Ticket>>);

impl Tickets {
    fn keep(&self, ticket: Ticket, now: Instant) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tickets.front().is_some_and(|oldest| oldest.until <= now) || tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    /// The session of a ticket for this place. The ticket is used up in any case.
    fn take(&self, hash: &str, app: &AppName, place: Place, now: Instant) -> Option<String> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = tickets.iter().position(|ticket| ticket.hash == hash)?;
        let ticket = tickets.remove(at)?;
        (ticket.until > now && (&ticket.app, ticket.place) == (app, place)).then_some(ticket.session)
    }
}

/// The draft or the preview of a host, if it is one.
pub fn place_of(host: &HostName) -> Option<(&AppName, Place)> {
    match host {
        HostName::Draft(app) => Some((app, Place::Draft)),
        HostName::App(app, Environment::Preview) => Some((app, Place::Preview)),
        HostName::Builder | HostName::App(_, Environment::Prod) => None,
    }
}

fn host_of(app: &AppName, place: Place) -> HostName {
    match place {
        Place::Draft => HostName::Draft(app.clone()),
        Place::Preview => HostName::App(app.clone(), Environment::Preview),
    }
}

impl Services {
    /// A URL of a draft or a preview: `path` begins with a slash.
    pub fn place_url(&self, app: &AppName, place: Place, path: &str) -> String {
        format!("{}{path}", self.url(&host_of(app, place)))
    }

    /// The URL at which a draft or a preview redeems a ticket or the secret of a link.
    fn enter_url(&self, app: &AppName, place: Place, query: &[(&str, &str)]) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.place_url(app, place, &format!("{PREFIX}{ENTER}?{query}"))
    }

    /// A URL at which a draft or a preview redeems a new ticket, and then redirects to `next`. The ticket is bound to
    /// the first valid session; without a valid session the result is `None`.
    pub async fn ticket_url(
        &self,
        app: &AppName,
        place: Place,
        next: &str,
        sessions: impl Iterator<Item = &str>,
    ) -> AppResult<Option<String>> {
        let app = self.app(app).await?.name;
        if !self.config().protects_previews() {
            return Ok(Some(self.place_url(&app, place, next)));
        }
        let Some(session) = self.session_hash(sessions).await? else { return Ok(None) };
        let (secret, now) = (random_secret(), Instant::now());
        let url = self.enter_url(&app, place, &[("ticket", &secret), ("next", next)]);
        let ticket = Ticket { hash: hash(&secret), app, place, session, until: now + TICKET_LIFE };
        self.tickets.keep(ticket, now);
        Ok(Some(url))
    }

    /// Redeems a ticket; `None` if it is invalid, expired or for another place.
    pub async fn enter_by_ticket(&self, ticket: &str, app: &AppName, place: Place) -> AppResult<Option<Pass>> {
        let Some(session) = self.tickets.take(&hash(ticket), app, place, Instant::now()) else { return Ok(None) };
        let until = self.now() + SignedDuration::from_hours(24 * SESSION_DAYS);
        self.new_pass(app, place, PassSource::Session(session), until).await
    }

    /// Redeems the secret of a share link; `None` if it is invalid, expired or for another place.
    pub async fn enter_by_link(&self, secret: &str, app: &AppName, place: Place) -> AppResult<Option<Pass>> {
        let found = self.platform.store.preview_link(hash(secret), app.clone(), place, self.now()).await?;
        match found {
            Some(link) => self.new_pass(app, place, PassSource::Link(link.id), link.expires_at).await,
            None => Ok(None),
        }
    }

    async fn new_pass(
        &self,
        app: &AppName,
        place: Place,
        source: PassSource,
        until: Timestamp,
    ) -> AppResult<Option<Pass>> {
        let (secret, at) = (random_secret(), self.now());
        let store = &self.platform.store;
        let made = store.insert_preview_pass(hash(&secret), app.clone(), place, source, (at, until)).await?;
        Ok(made.then(|| Pass { secret: SecretString::from(secret), until, at }))
    }

    /// Whether one of these is the secret of a pass for a place of an app.
    pub async fn has_pass(&self, app: &AppName, place: Place, secrets: impl Iterator<Item = &str>) -> AppResult<bool> {
        let hashes: Vec<String> = secrets.map(hash).collect();
        if hashes.is_empty() {
            return Ok(false);
        }
        Ok(self.platform.store.has_preview_pass(&hashes, app.clone(), place, self.now()).await?)
    }

    /// Whether an app itself rejects unsigned calls, so that its senders, which cannot log in, may reach its
    /// preview.
    pub async fn accepts_signed_calls(&self, app: &AppName) -> bool {
        self.webhook(app).await.is_some()
    }

    /// An app's active share links, newest first.
    pub async fn preview_links(&self, app: &App) -> AppResult<Vec<PreviewLink>> {
        Ok(self.platform.store.preview_links(app.id, self.now()).await?)
    }

    /// Creates a share link. Its address is returned only once.
    pub async fn create_preview_link(
        &self,
        app: &App,
        place: Place,
        life: LinkLife,
    ) -> AppResult<(PreviewLink, SecretString)> {
        if !self.config().protects_previews() {
            return Err(AppError::conflict("previews_are_open", "Drafts and previews need no login here.")
                .hint("Share their own addresses. With SLIPWAY_PREVIEW_ACCESS=login they need a login."));
        }
        let is_there = match place {
            Place::Draft => self.draft_url(app).is_some(),
            Place::Preview => self.environment_url(app, Environment::Preview).is_some(),
        };
        if !is_there {
            let detail = format!("“{}” has no {} for browsers.", app.name, place.as_str());
            return Err(AppError::new(ErrorKind::Conflict, "nothing_to_share", detail));
        }
        let (secret, at) = (random_secret(), self.now());
        let times = (at, at + life.duration());
        let made = self.platform.store.insert_preview_link(app.id, place, hash(&secret), times, LINKS_MAX).await;
        let link = made.map_err(|error| match error {
            StoreError::Conflict(_) => {
                AppError::conflict("too_many_links", format!("“{}” has {LINKS_MAX} share links already.", app.name))
                    .hint("Revoke some of them first.")
            }
            other => other.into(),
        })?;
        let url = self.enter_url(&app.name, place, &[("link", &secret)]);
        Ok((link, SecretString::from(url)))
    }

    /// Revokes a share link: browsers that used it lose access at once.
    pub async fn revoke_preview_link(&self, app: &App, id: i64) -> AppResult<()> {
        Ok(self.platform.store.remove_preview_link(app.id, id).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_valid_once_for_one_place_and_for_a_minute() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let (app, other): (AppName, AppName) = ("tides".parse().expect("a name"), "ferns".parse().expect("a name"));
        let keep = |secret: &str| {
            let until = now + TICKET_LIFE;
            let ticket =
                Ticket { hash: hash(secret), app: app.clone(), place: Place::Preview, session: "s".into(), until };
            tickets.keep(ticket, now);
        };
        let take = |secret: &str, app: &AppName, place, at| tickets.take(&hash(secret), app, place, at);
        keep("a");
        assert_eq!(take("b", &app, Place::Preview, now), None);
        assert_eq!(take("a", &app, Place::Preview, now).as_deref(), Some("s"));
        assert_eq!(take("a", &app, Place::Preview, now), None, "twice");
        keep("a");
        assert_eq!(take("a", &other, Place::Preview, now), None);
        assert_eq!(take("a", &app, Place::Preview, now), None, "an attempt at another host uses it up");
        keep("a");
        assert_eq!(take("a", &app, Place::Draft, now), None);
        keep("a");
        assert_eq!(take("a", &app, Place::Preview, now + TICKET_LIFE), None);
        for _ in 0..=TICKETS_MAX {
            keep("many");
        }
        assert_eq!(tickets.0.lock().expect("the lock is not poisoned").len(), TICKETS_MAX);
    }

    #[test]
    fn hosts_and_places_match() {
        let app: AppName = "tides".parse().expect("a name");
        for place in [Place::Draft, Place::Preview] {
            assert_eq!(place_of(&host_of(&app, place)), Some((&app, place)));
        }
        assert_eq!(place_of(&HostName::App(app, Environment::Prod)), None);
        assert_eq!(place_of(&HostName::Builder), None);
    }
}
