//! *Share*: links that open a draft or a preview without a login.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Redirect, Response};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::page::show;
use super::query::AppQuery;
use crate::browser_errors::Place;
use crate::domain::{App, AppName};
use crate::error::AppResult;
use crate::services::Services;
use crate::services::preview_access::LinkLife;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path, Query};
use crate::web::format::When;
use crate::web::reply::{self, Caller};
use crate::web::ui;

/// The links of an app, and the form for a new one.
#[derive(Template)]
#[template(path = "app/share.html")]
pub struct ShareTab<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The place that a new link opens.
    pub place: Place,
    /// The app has a draft that can be shared too.
    pub has_draft: bool,
    /// The lifetimes that a link can have.
    pub lives: [LinkLife; 3],
    /// The default lifetime.
    pub usual: LinkLife,
    /// The address of the link that was just created; it is shown only once.
    pub made: Option<MadeLink>,
    /// Newest first.
    pub links: Vec<LinkView>,
}

/// A link that was just created.
pub struct MadeLink {
    /// Its address.
    pub url: String,
    /// Its expiry.
    pub ends: When,
}

/// An active link.
pub struct LinkView {
    /// Its number.
    pub id: i64,
    /// The place that it opens.
    pub place: Place,
    /// Time of creation.
    pub created: When,
    /// Its expiry.
    pub ends: When,
}

impl LinkView {
    fn title(&self) -> &'static str {
        match self.place {
            Place::Draft => "Draft",
            Place::Preview => "Preview",
        }
    }
}

impl ShareTab<'_> {
    fn back(&self) -> String {
        format!("/apps/{}?view={}", self.app, self.place.as_str())
    }
}

/// The query parameters.
#[derive(Deserialize)]
pub struct ShareQuery {
    #[serde(default = "preview")]
    place: Place,
}

fn preview() -> Place {
    Place::Preview
}

/// `GET /apps/{app}/share`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<ShareQuery>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    shown(&web.services, chrome, caller, &app, query.place, None).await
}

/// The form's fields.
#[derive(Deserialize)]
pub struct LinkForm {
    place: Place,
    lasts: LinkLife,
}

/// `POST /apps/{app}/share`: the only response that shows the link.
pub async fn create(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<LinkForm>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let (link, url) = services.create_preview_link(&app, form.place, form.lasts).await?;
    let made = MadeLink { url: url.expose_secret().to_owned(), ends: When::new(link.expires_at, services.now()) };
    let mut response = shown(services, chrome, caller, &app, form.place, Some(made)).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /apps/{app}/share/{id}/revoke`: a browser opens it after it had to log in again.
pub async fn back(Path((name, _)): Path<(AppName, i64)>) -> Redirect {
    Redirect::to(&format!("/apps/{name}/share"))
}

/// `POST /apps/{app}/share/{id}/revoke`
pub async fn revoke(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path((name, id)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    web.services.revoke_preview_link(&app, id).await?;
    shown(&web.services, chrome, caller, &app, Place::Preview, None).await
}

async fn shown(
    services: &Services,
    chrome: Chrome,
    caller: Caller,
    app: &App,
    place: Place,
    made: Option<MadeLink>,
) -> AppResult<Response> {
    let now = services.now();
    let has_draft = services.draft_url(app).is_some();
    let links = services.preview_links(app).await?.into_iter().map(|link| LinkView {
        id: link.id,
        place: link.place,
        created: When::new(link.created_at, now),
        ends: When::new(link.expires_at, now),
    });
    let stage = reply::render(&ShareTab {
        app: &app.name,
        place: if has_draft { place } else { Place::Preview },
        has_draft,
        lives: LinkLife::ALL,
        usual: LinkLife::default(),
        made,
        links: links.collect(),
    })?;
    show(services, chrome, caller, app, "preview", stage, &AppQuery { looks: true, ..AppQuery::default() }).await
}
