//! `/settings`: appearance, model, cost, sessions, API tokens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::Web;
use super::browser::browser_title;
use super::chrome::{Chrome, Theme};
use super::cost::{self, CostView};
use super::extract::{Form, Path, Query};
use super::format::When;
use super::model_key_view::{KeyShown, ModelSection};
use super::reply::{self, Caller};
use super::ui;
use crate::domain::{Invalid, Principal, Scope, SessionId, TokenId};
use crate::error::{AppError, AppResult};
use crate::services::Services;
use crate::services::tokens::{NewToken, TOKEN_DAYS, TokenEnd};
use crate::store::access::ApiToken;
use crate::store::sessions::Session;

/// The page.
#[derive(Template)]
#[template(path = "settings.html")]
pub struct SettingsPage {
    chrome: Chrome,
    /// The available themes.
    themes: [Theme; 3],
    /// The rendered section about the model and its key.
    model: String,
    /// The rendered cost of the model.
    cost: String,
    /// The most recently used first.
    sessions: Vec<SessionView>,
    /// Newest first.
    tokens: Vec<TokenView>,
    scopes: [Scope; 3],
    /// The lifetimes that a token can have, in days and in words.
    ends: [(u32, &'static str); 4],
    end: u32,
    /// The token that was just created.
    made: Option<MadeToken>,
}

/// A browser that has logged in.
struct SessionView {
    id: SessionId,
    /// A short name.
    browser: String,
    /// The user agent.
    full: String,
    address: String,
    created: When,
    used: When,
    /// It is the browser that requested the page.
    current: bool,
}

impl SessionView {
    fn new(session: Session, by: &Principal, now: jiff::Timestamp) -> Self {
        Self {
            current: by.session() == Some(session.id),
            id: session.id,
            browser: browser_title(&session.browser),
            full: session.browser,
            address: session.address,
            created: When::new(session.created_at, now),
            used: When::new(session.last_used_at, now),
        }
    }
}

/// A token in the list.
struct TokenView {
    id: TokenId,
    name: String,
    scope: Scope,
    /// The only app that it can access.
    app: Option<String>,
    created: When,
    used: Option<When>,
    end: Option<When>,
    /// It has expired.
    ended: bool,
}

impl TokenView {
    fn new(token: ApiToken, now: jiff::Timestamp) -> Self {
        Self {
            ended: token.has_ended(now),
            id: token.id,
            name: token.name,
            scope: token.scope,
            app: token.app.map(|app| app.to_string()),
            created: When::new(token.created_at, now),
            used: token.last_used_at.map(|at| When::new(at, now)),
            end: token.expires_at.map(|at| When::new(at, now)),
        }
    }
}

/// What a page shows besides the settings: the result of a form.
#[derive(Default)]
pub(super) struct Shown {
    /// The token that was just created.
    pub(super) made: Option<MadeToken>,
    /// What came of the form for a key.
    pub(super) key: KeyShown,
}

/// A token's text, shown once.
pub(super) struct MadeToken {
    name: String,
    plain: String,
}

/// How long a new token's text waits for the page that shows it, and how many wait at once.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(60);
const WAITING_MAX: usize = 32;

/// New tokens on their way to the page that shows them, once. The form's answer redirects there, so that a reload of that
/// page creates no second token.
#[derive(Clone, Default)]
pub struct NewTokens(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    ticket: String,
    since: jiff::Timestamp,
    by: Principal,
    made: MadeToken,
}

impl NewTokens {
    fn put(&self, by: &Principal, made: MadeToken, now: jiff::Timestamp) -> String {
        let ticket = hex::encode(rand::random::<[u8; 16]>());
        let mut waiting = self.waiting(now);
        if waiting.len() == WAITING_MAX {
            waiting.remove(0);
        }
        waiting.push(Waiting { ticket: ticket.clone(), since: now, by: by.clone(), made });
        ticket
    }

    /// The token of this ticket, for the one who created it.
    fn take(&self, by: &Principal, ticket: &str, now: jiff::Timestamp) -> Option<MadeToken> {
        let mut waiting = self.waiting(now);
        let at = waiting.iter().position(|one| one.ticket == ticket && one.by == *by)?;
        Some(waiting.remove(at).made)
    }

    fn waiting(&self, now: jiff::Timestamp) -> MutexGuard<'_, Vec<Waiting>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| now.duration_since(one.since) < SHOWN_WITHIN);
        waiting
    }
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SettingsQuery {
    /// The ticket of a token that was just created.
    made: String,
    /// `added`: a key was just added.
    key: String,
}

/// `GET /settings`
pub async fn page(
    State(web): State<Web>,
    chrome: Chrome,
    Extension(principal): Extension<Principal>,
    Query(query): Query<SettingsQuery>,
) -> AppResult<Response> {
    let made = web.new_tokens.take(&principal, &query.made, web.services.now());
    let shown = Shown { made, key: KeyShown { added: query.key == "added", ..KeyShown::default() } };
    let mut response = reply::page(&filled(&web.services, chrome, &principal, shown).await?)?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The page with what it shows besides the settings.
pub(super) async fn filled(
    services: &Services,
    chrome: Chrome,
    by: &Principal,
    shown: Shown,
) -> AppResult<SettingsPage> {
    let now = services.now();
    let sessions = services.sessions(by).await?.into_iter().map(|session| SessionView::new(session, by, now));
    let tokens = services.tokens(by).await?.into_iter().map(|token| TokenView::new(token, now));
    let cost = reply::render(&CostView::new(&services.spending(None, cost::DAYS).await?, true))?;
    Ok(SettingsPage {
        chrome,
        themes: Theme::ALL,
        model: reply::render(&ModelSection::load(services, &shown.key).await?)?,
        cost,
        sessions: sessions.collect(),
        tokens: tokens.collect(),
        scopes: Scope::ALL,
        ends: [(7, "7 days"), (30, "30 days"), (TOKEN_DAYS, "90 days"), (365, "A year")],
        end: TOKEN_DAYS,
        made: shown.made,
    })
}

/// The form's fields.
#[derive(Deserialize)]
pub struct TokenForm {
    name: String,
    #[serde(default)]
    scope: Scope,
    /// An app's name; empty: all apps.
    #[serde(default)]
    app: String,
    /// Days, or `never`; empty: the default.
    #[serde(default)]
    end: String,
}

impl TokenForm {
    fn read(self) -> AppResult<NewToken> {
        let end = match self.end.as_str() {
            "" => TokenEnd::Days(TOKEN_DAYS),
            "never" => TokenEnd::Never,
            days => TokenEnd::Days(
                days.parse().map_err(|_| AppError::invalid("The expiry of a token must be a number of days."))?,
            ),
        };
        let app = match self.app.trim() {
            "" => None,
            app => Some(app.parse().map_err(|error: Invalid| AppError::from(error))?),
        };
        Ok(NewToken { name: self.name, scope: self.scope, app, end })
    }
}

/// `POST /settings/tokens`: the page that it redirects to shows the token's text once.
pub async fn make_token(
    State(web): State<Web>,
    Extension(principal): Extension<Principal>,
    Form(form): Form<TokenForm>,
) -> AppResult<Response> {
    let (token, plain) = web.services.create_token(&principal, form.read()?).await?;
    let made = MadeToken { name: token.name, plain: plain.expose_secret().to_owned() };
    let ticket = web.new_tokens.put(&principal, made, web.services.now());
    Ok(Redirect::to(&format!("/settings?made={ticket}#tokens")).into_response())
}

/// `POST /settings/tokens/{id}/revoke`
pub async fn revoke_token(
    State(web): State<Web>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<i64>,
) -> AppResult<Response> {
    web.services.revoke_token(&principal, TokenId(id)).await?;
    Ok(Redirect::to("/settings#tokens").into_response())
}

/// `POST /settings/sessions/{id}/end`
pub async fn end_session(
    State(web): State<Web>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<i64>,
) -> AppResult<Response> {
    web.services.end_session(&principal, SessionId(id)).await?;
    Ok(Redirect::to("/settings#sessions").into_response())
}

/// `POST /settings/sessions/end`: all of them.
pub async fn end_all_sessions(
    State(web): State<Web>,
    caller: Caller,
    Extension(principal): Extension<Principal>,
) -> AppResult<Response> {
    web.services.end_all_sessions(&principal).await?;
    Ok(reply::go(caller, "/login"))
}

#[cfg(test)]
pub(super) fn sample() -> SettingsPage {
    use super::samples::{ago, cost, now};
    let session = |id, browser: &str, current| SessionView {
        id: SessionId(id),
        browser: browser_title(browser),
        full: browser.into(),
        address: "2001:db8::7".into(),
        created: When::new(ago(90_000), now()),
        used: When::new(ago(30), now()),
        current,
    };
    let token = |id, app: Option<&str>, end: Option<When>, ended| TokenView {
        id: TokenId(id),
        name: "CI".into(),
        scope: Scope::Write,
        app: app.map(str::to_owned),
        created: When::new(ago(90_000), now()),
        used: None,
        end,
        ended,
    };
    SettingsPage {
        chrome: super::chrome::sample(),
        themes: Theme::ALL,
        model: super::model_key_view::sample().render().expect("renders"),
        cost: cost(true),
        sessions: vec![
            session(2, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", true),
            session(1, "", false),
        ],
        tokens: vec![token(2, Some("brisk-otter"), None, false), token(1, None, Some(When::new(ago(9), now())), true)],
        scopes: Scope::ALL,
        ends: [(7, "7 days"), (30, "30 days"), (TOKEN_DAYS, "90 days"), (365, "A year")],
        end: TOKEN_DAYS,
        made: Some(MadeToken { name: "CI".into(), plain: "slipway_0123456789abcdef".into() }),
    }
}
