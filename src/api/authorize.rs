//! Checks the rights that each call needs, in one place: before its handler, from the table of calls.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;

use crate::domain::{Action, JobId, Principal, Target};
use crate::error::{AppError, AppResult, ErrorKind};
use crate::services::Services;

/// The resource of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Data that is the same for every caller, or that is filtered by the caller's rights.
    Shared,
    /// The builder as a whole.
    Builder,
    /// The app in the address.
    App,
    /// The job in the address, and therefore its app.
    Job,
}

/// The right that a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None: it is public.
    Nothing,
    /// To read this resource.
    Read(About),
    /// To change this resource.
    Write(About),
    /// To list and end sessions and tokens.
    ManageLogins,
    /// To create a token.
    MakeToken,
}

/// Adds the check before a call's handler.
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
        return AppError::bad_request("The address contains percent-encoded bytes that are not UTF-8.").into_response();
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
    // The guard adds the principal to the request; a request without one is not authenticated.
    let Some(principal) = principal else {
        return Err(AppError::new(ErrorKind::Unauthorized, "unauthorized", "This needs a login or an API token."));
    };
    let parameter = |name: &str| parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    let app;
    let target = match about {
        About::Shared => Target::Shared,
        About::Builder => Target::Builder,
        About::App => Target::App(parameter("app")),
        // Only a caller that is limited to some apps needs a check of the job's app.
        About::Job => match principal.only_app() {
            None => Target::Builder,
            Some(own) => {
                app = job_app(parameter("id"), services).await?;
                // Answer as if the job did not exist, because ids are easy to guess.
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

/// The name of a job's app, if the job exists.
async fn job_app(id: &str, services: &Services) -> AppResult<Option<String>> {
    let Ok(id) = id.parse::<JobId>() else { return Ok(None) };
    match services.job(id).await {
        Ok(job) => Ok(Some(job.app.to_string())),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
