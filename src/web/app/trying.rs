//! Requests to a running app from its page: any call, a run; and their results.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::answer_views::{AnswerView, CurlView, NoAnswer};
use super::preview_views::RunLog;
use crate::domain::{AppName, Environment, Invalid, RunId};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::probing::TestAnswer;
use crate::services::test_call::TestCall;
use crate::web::Web;
use crate::web::extract::{Form, Path};
use crate::web::format::encode_path;
use crate::web::highlight::escape_into;
use crate::web::reply::{self, Caller};

/// Maximum lines of a run's log on the page.
const LINES_SHOWN: usize = 2_000;

/// Maximum number of fields of a form, and of bytes in all values for the path and the query.
const FIELDS_MAX: usize = 200;
const PARAMETERS_MAX: usize = 16 * 1024;

/// The form's fields. Those for parameters are called `path.NAME`, `query.NAME` and `header.NAME`.
struct TryForm {
    environment: Environment,
    call: TestCall,
}

impl TryForm {
    fn read(fields: Vec<(String, String)>) -> AppResult<Self> {
        if fields.len() > FIELDS_MAX {
            return Err(AppError::invalid("The form has too many fields."));
        }
        let mut fixed = BTreeMap::new();
        let (mut in_path, mut in_query, mut headers) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, value) in fields {
            match name.split_once('.') {
                Some(("path", name)) => {
                    in_path.insert(name.to_owned(), value);
                }
                Some(("query" | "header", _)) if value.is_empty() => {}
                Some(("query", name)) => in_query.push((name.to_owned(), value)),
                Some(("header", name)) => headers.push((name.to_owned(), value.trim().to_owned())),
                _ => {
                    fixed.insert(name, value);
                }
            }
        }
        let mut take = |name: &str| fixed.remove(name).unwrap_or_default();
        let environment = take("environment").parse().map_err(|error: Invalid| AppError::from(error))?;
        let (method, template) = (take("method"), take("path"));
        let path = filled(template.trim(), &in_path, &in_query)?;
        headers.extend(header_lines(&take("headers"))?);
        // Browsers send the line breaks of a field as CRLF.
        let body = take("body").replace("\r\n", "\n");
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = match take("content_type") {
            kind if !kind.is_empty() => Some(kind),
            _ if serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok() => Some("application/json".to_owned()),
            _ => None,
        };
        if let Some(kind) = kind
            && !has_type
            && !body.is_empty()
        {
            headers.push(("Content-Type".to_owned(), kind));
        }
        Ok(Self { environment, call: TestCall { method, path, headers, body: body.into_bytes() } })
    }
}

/// Headers, one a line.
fn header_lines(text: &str) -> AppResult<Vec<(String, String)>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| AppError::invalid("Write each header on its own line, as “Name: value”."))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// A path with its parameters, percent-encoded.
fn filled(template: &str, in_path: &BTreeMap<String, String>, in_query: &[(String, String)]) -> AppResult<String> {
    let bytes = in_path.values().chain(in_query.iter().map(|(_, value)| value)).map(String::len).sum::<usize>();
    if bytes > PARAMETERS_MAX {
        return Err(AppError::invalid("The values for the path and the query are too long."));
    }
    let mut path = String::with_capacity(template.len() + bytes);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        path.push_str(before);
        // `{path:path}` of some frameworks takes slashes.
        let (name, keeps_slashes) = name.split_once(':').map_or((name, false), |(name, kind)| (name, kind == "path"));
        match in_path.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()) {
            Some(value) => path.push_str(&encode_path(value, keeps_slashes)),
            None => return Err(AppError::invalid(format!("Fill in “{name}”: it is a part of the path."))),
        }
        rest = after;
    }
    path.push_str(rest);
    for (name, value) in in_query {
        path.push(if path.contains('?') { '&' } else { '?' });
        let _ = write!(path, "{}={}", encode_path(name, false), encode_path(value, false));
    }
    Ok(path)
}

/// `POST /apps/{app}/try`
pub async fn try_request(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(fields): Form<Vec<(String, String)>>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let sent = async {
        let TryForm { environment, call } = TryForm::read(fields)?;
        let answer = web.services.try_request(&app, environment, &call).await?;
        Ok((call, environment, answer))
    };
    match sent.await {
        Ok((call, environment, answer)) => answered(caller, &call, environment, answer),
        Err(error) => unanswered(caller, error),
    }
}

/// `POST /apps/{app}/try/curl`: the same call as a command.
pub async fn as_curl(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(fields): Form<Vec<(String, String)>>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let command = TryForm::read(fields)
        .and_then(|form| Ok((form.environment, web.services.curl(&app, form.environment, &form.call)?)));
    match command {
        Ok((environment, command)) => {
            let needs_login = environment == Environment::Preview && web.services.config().protects_previews();
            let note =
                if needs_login { "Previews need a login here: without its cookie, the answer is 401." } else { "" };
            shown_command(caller, &command, note)
        }
        Err(error) => unanswered(caller, error),
    }
}

pub(super) fn shown_command(caller: Caller, command: &str, note: &str) -> AppResult<Response> {
    let mut response = if caller.is_htmx() {
        reply::page(&CurlView { command, note })?
    } else {
        format!("{command}\n").into_response()
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What went wrong with a call, in the place of its answer.
pub(super) fn unanswered(caller: Caller, error: AppError) -> AppResult<Response> {
    if caller.is_htmx() && matches!(error.kind, ErrorKind::BadGateway | ErrorKind::Invalid | ErrorKind::Conflict) {
        let shown = reply::page(&NoAnswer { detail: &error.detail, hint: error.hint.as_deref() })?;
        return Ok((error.kind.status(), shown).into_response());
    }
    Err(error)
}

/// The response as a fragment of the page, or as plain text for a browser without scripts.
pub(super) fn answered(
    caller: Caller,
    call: &TestCall,
    environment: Environment,
    answer: TestAnswer,
) -> AppResult<Response> {
    if !caller.is_htmx() {
        let mut text = format!("{} in {} ms\n", answer.status, answer.millis);
        for (name, value) in &answer.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        text.push_str(&answer.body);
        return Ok(text.into_response());
    }
    reply::page(&AnswerView::new(call, environment, answer))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct RunForm {
    environment: Environment,
}

/// `POST /apps/{app}/runs`
pub async fn run_now(
    State(web): State<Web>,
    caller: Caller,
    Path(name): Path<AppName>,
    Form(form): Form<RunForm>,
) -> AppResult<Response> {
    web.services.run_now(&name, form.environment).await?;
    let to = format!("/apps/{name}?view={}", form.environment);
    if !caller.is_htmx() {
        return Ok(Redirect::to(&to).into_response());
    }
    // Runs have no events, so the page reloads its list.
    let mut response = axum::http::StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert("hx-trigger", HeaderValue::from_static("slipway:refresh"));
    Ok(response)
}

/// `GET /apps/{app}/runs/{run}`
pub async fn run_log(
    State(web): State<Web>,
    caller: Caller,
    Path((name, id)): Path<(AppName, i64)>,
) -> AppResult<Response> {
    let app = web.services.app(&name).await?;
    let run = web.services.run(&app, RunId(id)).await?;
    let log = web.services.run_log(&app, run.id).await?;
    if !caller.is_htmx() {
        return Ok(log.into_response());
    }
    let all = log.lines().count();
    let lines: Vec<&str> = log.lines().skip(all.saturating_sub(LINES_SHOWN)).collect();
    let mut html = reply::render(&RunLog { error: run.error.as_deref(), lines })?;
    if all > LINES_SHOWN {
        let mut href = String::new();
        escape_into(&format!("/apps/{name}/runs/{id}"), &mut href);
        let _ = write!(html, r#"<p class="step"><a href="{href}">Open the whole log as text</a></p>"#);
    }
    Ok(reply::html(html))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(fields: &[(&str, &str)]) -> AppResult<String> {
        let fixed = [("environment", "preview"), ("method", "GET")];
        let fields = fixed.iter().chain(fields).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TryForm::read(fields.collect()).map(|form| form.call.path)
    }

    #[test]
    fn parameters_are_put_into_the_path_and_the_query() {
        let fields =
            [("path", "/items/{item_id}"), ("path.item_id", "a/b c"), ("query.q", "x&y=ü"), ("query.page", "")];
        assert_eq!(path(&fields).expect("a path"), "/items/a%2Fb%20c?q=x%26y%3D%C3%BC");
        let fields = [("path", "/files/{name:path}?old=1"), ("path.name", "a/b"), ("query.q", "1")];
        assert_eq!(path(&fields).expect("a path"), "/files/a/b?old=1&q=1");
    }

    #[test]
    fn a_parameter_of_the_path_is_asked_for_and_never_sent_in_braces() {
        for fields in [&[("path", "/items/{item_id}")][..], &[("path", "/items/{item_id}"), ("path.item_id", " ")]] {
            let error = path(fields).expect_err("it is missing");
            assert_eq!(error.detail, "Fill in “item_id”: it is a part of the path.");
        }
    }
}
