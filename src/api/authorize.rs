//! What each call needs, checked at one place: before its handler, from the table of calls.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use crate::domain::{Action, JobId, Principal, Target};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// What is the same for everybody, or is cut to what the caller may see.
    Shared,
    /// The builder as a whole.
    Builder,
    /// The app in the address.
    App,
    /// The job in the address, and so its app.
    Job,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is open to all.
    Nothing,
    /// To look at this.
    Read(About),
    /// To change this.
    Write(About),
    /// To see and end sessions and tokens.
    ManageLogins,
    /// To make a token.
    MakeToken,
}

/// Puts the check before a call's handler.
pub(super) fn guarded(needs: Needs, handler: MethodRouter<Services>, services: &Services) -> MethodRouter<Services> {
    handler.layer(axum::middleware::from_fn_with_state((needs, services.clone()), check))
}

async fn check(
    State((needs, services)): State<(Needs, Services)>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(parameters) = parameters else {
        return AppError::bad_request("The address holds %-signs that stand for no UTF-8 text.").into_response();
    };
    let principal = request.extensions().get::<Principal>();
    match allowed(needs, principal, &parameters, &services).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn allowed(
    needs: Needs,
    principal: Option<&Principal>,
    parameters: &RawPathParams,
    services: &Services,
) -> AppResult<()> {
    let (about, writes) = match needs {
        Needs::Nothing => return Ok(()),
        Needs::Read(about) => (about, false),
        Needs::Write(about) => (about, true),
        Needs::ManageLogins | Needs::MakeToken => (About::Builder, true),
    };
    // The guard puts the principal into the request; a request without one has no login.
    let Some(principal) = principal else {
        return Err(AppError::new(ErrorKind::Unauthorized, "unauthorized", "This needs a login or an API token."));
    };
    let parameter = |name: &str| parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    let app;
    let target = match about {
        About::Shared => Target::Shared,
        About::Builder => Target::Builder,
        About::App => Target::App(parameter("app")),
        // Only who sees a part of the apps is asked whether the job is of that part.
        About::Job => match principal.only_app() {
            None => Target::Builder,
            Some(own) => {
                app = job_app(parameter("id"), services).await?;
                // As if it were not there: numbers are easily tried.
                if app.as_deref() != Some(own.as_str()) {
                    return Err(AppError::not_found("job of this number"));
                }
                Target::App(own.as_str())
            }
        },
    };
    let action = match needs {
        Needs::ManageLogins => Action::ManageLogins,
        Needs::MakeToken => Action::MakeToken,
        _ if writes => Action::Write(target),
        _ => Action::Read(target),
    };
    Ok(principal.check(action)?)
}

/// The name of a job's app, if there is such a job.
async fn job_app(id: &str, services: &Services) -> AppResult<Option<String>> {
    let Ok(id) = id.parse::<JobId>() else { return Ok(None) };
    match services.job(id).await {
        Ok(job) => Ok(Some(job.app.to_string())),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
