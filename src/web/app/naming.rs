//! Renaming and duplicating an app.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::domain::{APP_NAME_MAX, APP_TITLE_MAX, App, AppName};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Form, Path};
use crate::web::reply::{self, Caller};
use crate::web::ui;

/// The form for an app's title.
#[derive(Template)]
#[template(path = "app/rename.html")]
pub struct RenamePage<'a> {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The app.
    pub app: &'a App,
    /// The text of the field.
    pub title: &'a str,
    /// Why it was not renamed.
    pub problem: Option<String>,
}

/// The form for an app's duplicate.
#[derive(Template)]
#[template(path = "app/duplicate.html")]
pub struct DuplicatePage<'a> {
    /// The page's frame: navigation, theme.
    pub chrome: Chrome,
    /// The app.
    pub app: &'a App,
    /// The text of the field.
    pub name: &'a str,
    /// Why it was not duplicated.
    pub problem: Option<String>,
}

/// `GET /apps/{app}/rename`
pub async fn rename_page(State(web): State<Web>, chrome: Chrome, Path(name): Path<AppName>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    reply::page(&RenamePage { chrome, title: app.shown(), app: &app, problem: None })
}

/// The form's fields.
#[derive(Deserialize)]
pub struct RenameForm {
    title: String,
    /// The form is that of the settings.
    #[serde(default)]
    settings: bool,
}

/// `POST /apps/{app}/rename`
pub async fn rename(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<RenameForm>,
) -> AppResult<Response> {
    // The name itself is no title: without one, pages show the name.
    let title = Some(form.title.trim()).filter(|title| *title != name.as_str()).unwrap_or_default();
    match web.services.set_title(&name, title).await {
        Ok(_) if form.settings => Ok(reply::go(caller, &format!("/apps/{name}/settings"))),
        Ok(_) => Ok(reply::go(caller, "/")),
        Err(error) if is_problem(&error) => {
            let app = web.services.app(&name).await?;
            let status = error.kind.status();
            let page = RenamePage { chrome, app: &app, title: &form.title, problem: Some(words(error)) };
            Ok((status, reply::page(&page)?).into_response())
        }
        Err(error) => Err(error),
    }
}

/// `GET /apps/{app}/duplicate`
pub async fn duplicate_page(State(web): State<Web>, chrome: Chrome, Path(name): Path<AppName>) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let suggested = web.services.suggest_copy_name(&name).await?;
    reply::page(&DuplicatePage { chrome, app: &app, name: suggested.as_str(), problem: None })
}

/// The form's fields.
#[derive(Deserialize)]
pub struct DuplicateForm {
    name: String,
}

/// `POST /apps/{app}/duplicate`
pub async fn duplicate(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<DuplicateForm>,
) -> AppResult<Response> {
    let wanted = form.name.trim();
    let made = match wanted.parse::<AppName>() {
        _ if wanted.is_empty() => web.services.duplicate_app(&name, None).await,
        Ok(new) => web.services.duplicate_app(&name, Some(new)).await,
        Err(invalid) => Err(invalid.into()),
    };
    match made {
        Ok(app) => Ok(reply::go(caller, &format!("/apps/{}", app.name))),
        Err(error) if is_problem(&error) => {
            let app = web.services.app(&name).await?;
            let status = error.kind.status();
            let page = DuplicatePage { chrome, app: &app, name: wanted, problem: Some(words(error)) };
            Ok((status, reply::page(&page)?).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Whether the user can correct it in the form.
fn is_problem(error: &AppError) -> bool {
    matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::TooLarge)
}

fn words(error: AppError) -> String {
    match error.hint {
        Some(hint) => format!("{} {hint}", error.detail),
        None => error.detail,
    }
}
