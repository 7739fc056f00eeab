//! `/`: the form for a new app, and the list of apps.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Web;
use super::app::bar::chips_of;
use super::chrome::Chrome;
use super::extract::Query;
use super::format::encode_path;
use super::home_view::{AppCard, CreateProblem, Example, HomePage, NameField, Suggestion, TemplateChoice, outage};
use super::made_with;
use super::reply::{self, Caller};
use super::upload::FormWithFiles;
use crate::catalog::Template;
use crate::domain::{AppFilter, AppName, Cursor, NewTurn, PageRequest, TemplateKind, TemplateName, TurnMode};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;
use crate::services::apps::CreateApp;
use crate::services::attachments::{self, NewAttachment};

/// Apps on one page.
const PAGE: u32 = 60;
/// Number of example prompts.
const EXAMPLES: usize = 3;

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    search: String,
    kind: String,
    cursor: Option<String>,
    description: String,
}

/// `GET /`
pub async fn list(State(web): State<Web>, chrome: Chrome, Query(query): Query<ListQuery>) -> AppResult<Response> {
    reply::page(&home(&web.services, chrome, query, NewApp::default(), None).await?)
}

/// The form's fields.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct NewApp {
    description: String,
    template: String,
    name: String,
}

/// `POST /apps`: creates the app and starts its first turn.
pub async fn create(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    form: FormWithFiles<NewApp>,
) -> AppResult<Response> {
    let FormWithFiles { fields: form, files } = form;
    match make(&web.services, &form, files).await {
        Ok(name) => Ok(reply::go(caller, &format!("/apps/{name}"))),
        Err(error) if error.kind == ErrorKind::Unauthorized => Err(error),
        Err(error) => {
            let mut problem = error.detail.clone();
            if let Some(hint) = &error.hint {
                problem = format!("{problem} {hint}");
            }
            // The open page shows it beside the form.
            if caller.is_htmx() {
                let shown = reply::page(&CreateProblem { problem: &problem })?;
                let to = [("hx-retarget", "#create-problem"), ("hx-reswap", "innerHTML")];
                return Ok((error.kind.status(), to, shown).into_response());
            }
            // A browser without scripts gets the page again, with the typed text.
            let page = home(&web.services, chrome, ListQuery::default(), form, Some(problem)).await?;
            Ok((error.kind.status(), reply::page(&page)?).into_response())
        }
    }
}

async fn make(services: &Services, form: &NewApp, files: Vec<NewAttachment>) -> AppResult<AppName> {
    // Before the app exists.
    attachments::check(&files)?;
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let new = CreateApp {
        auto_preview: true,
        description: form.description.replace("\r\n", "\n"),
        template: given(&form.template).map(TemplateName::try_from).transpose()?,
        name: given(&form.name).map(AppName::try_from).transpose()?,
    };
    let description = new.description.clone();
    let app = services.create_app(new).await?;
    services.start(&app.name, NewTurn::of_person(description, TurnMode::Build), files).await?;
    Ok(app.name)
}

/// The query parameters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SuggestQuery {
    description: String,
}

/// `GET /suggest`: the template and a name that fit the description typed so far.
pub async fn suggest(State(web): State<Web>, Query(query): Query<SuggestQuery>) -> AppResult<Response> {
    let template = suggested(&web.services, &query.description);
    let name = web.services.suggest_name(&query.description).await?;
    reply::page(&Suggestion { title: template.as_deref(), name: Some(name) })
}

/// `GET /suggest/name`: a random name.
pub async fn suggest_name(State(web): State<Web>) -> AppResult<Response> {
    reply::page(&NameField { name: web.services.suggest_name("").await? })
}

fn suggested(services: &Services, description: &str) -> Option<String> {
    if description.trim().is_empty() {
        return None;
    }
    services.suggest_template(description).ok().map(|template| template.manifest.title.clone())
}

async fn home(
    services: &Services,
    chrome: Chrome,
    query: ListQuery,
    form: NewApp,
    problem: Option<String>,
) -> AppResult<HomePage> {
    let now = services.now();
    let search = Some(query.search.trim().to_owned()).filter(|text| !text.is_empty());
    let filter = match query.kind.trim() {
        "" => None,
        kind => Some(kind.parse::<TemplateName>()?),
    };
    let page = PageRequest { cursor: query.cursor.map(Cursor::try_from).transpose()?, ..PageRequest::first(PAGE) };
    let wanted = AppFilter { search: search.clone(), template: filter.clone(), only: None };
    let (apps, total) = tokio::join!(services.list_apps(wanted, page), services.count_apps());
    let (apps, total) = (apps?, total?);
    let title = |name: &TemplateName| {
        services.template(name).map_or_else(|_| name.to_string(), |template| template.manifest.title.clone())
    };
    let mut cards = Vec::with_capacity(apps.items.len());
    for app in &apps.items {
        let chips = chips_of(app, |environment| services.environment_url(app, environment));
        cards.push(AppCard::new(app, title(&app.template), chips, services.deletion_words(app).await?, now));
    }
    let description = if form.description.is_empty() { query.description } else { form.description };
    let name = match form.name.trim() {
        "" => services.suggest_name(&description).await?.to_string(),
        typed => typed.to_owned(),
    };
    let next = apps.next.map(|cursor| {
        let kind = filter.as_ref().map_or("", TemplateName::as_str);
        format!("/?cursor={cursor}&search={}&kind={kind}", encode_path(search.as_deref().unwrap_or_default(), false))
    });
    let searching = search.is_some() || filter.is_some();
    let listed = apps.items.len();
    let count = match (searching, next.is_some()) {
        (false, _) => total.to_string(),
        (true, more) => format!("{listed}{} of {total}", if more { "+" } else { "" }),
    };
    Ok(HomePage {
        count,
        suggestion: reply::render(&Suggestion { title: suggested(services, &description).as_deref(), name: None })?,
        description,
        name,
        chosen: form.template.trim().parse().ok(),
        templates: in_order(services)
            .into_iter()
            .map(|template| TemplateChoice {
                name: template.name.clone(),
                title: template.manifest.title.clone(),
                summary: template.manifest.summary.clone(),
            })
            .collect(),
        examples: examples(services),
        made: made_with::tiles(services),
        outage: services.runtime_outage().as_ref().map(outage),
        problem,
        total,
        searching,
        search: search.unwrap_or_default(),
        apps: cards,
        filter,
        next,
        chrome,
    })
}

/// All templates, the most common ones first.
fn in_order(services: &Services) -> Vec<&Arc<Template>> {
    let mut templates: Vec<_> = services.templates().collect();
    templates.sort_by_key(|template| match template.manifest.kind {
        TemplateKind::Static => 0,
        TemplateKind::Service => 1,
        TemplateKind::Webhook => 2,
        TemplateKind::Job => 3,
    });
    templates
}

/// One example each of a site, an API and a job.
fn examples(services: &Services) -> Vec<Example> {
    in_order(services)
        .iter()
        .filter(|template| template.manifest.kind != TemplateKind::Webhook)
        .filter_map(|template| Some(Example::new(template.manifest.examples.first()?, template.manifest.kind)))
        .take(EXAMPLES)
        .collect()
}

/// Parses a form's field with a fixed set of values.
pub(super) fn field<T>(text: &str) -> AppResult<T>
where
    T: std::str::FromStr<Err = crate::domain::Invalid>,
{
    text.trim().parse().map_err(AppError::from)
}
