//! The OpenAPI document, generated from the code.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use super::{
    apps, deployments, events, file_sets, files, jobs, logs, measurements, models, preview_links, resources, runs,
    sessions, system, templates, tokens, turns, usage, versions,
};
use crate::error::Problem;
use crate::guard::{HOST_SESSION_COOKIE, SESSION_COOKIE};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Slipway",
        description = "Describe an app, watch it being written, preview it, publish it, roll it back.\n\n\
            Errors are `application/problem+json` with a `code` for programs, a `detail` for people and, in some cases, \
            a `hint`. Lists are objects with `next`, which is the `cursor` of the next page, or null. Times \
            are RFC 3339 in UTC. Without an admin password everything is open; with one, send an API token as \
            `Authorization: Bearer …`. A token has a scope: `read` reads, `write` also creates, changes and deletes apps, \
            `admin` also lists and ends sessions and tokens; no token can create tokens. A token for a single app sees and \
            changes that app alone. What a token may not do is answered with 403.",
    ),
    tags(
        (name = "Apps", description = "The apps that users build."),
        (name = "Turns", description = "The conversation with the model."),
        (name = "Deployments", description = "Preview, production, and roll backs."),
        (name = "Share links", description = "Access to drafts and previews without a login."),
        (name = "Versions", description = "The history of an app."),
        (name = "Files", description = "The files of an app."),
        (name = "Scheduled jobs", description = "Runs of scheduled jobs."),
        (name = "Jobs", description = "Queued and running work."),
        (name = "Models", description = "The language models."),
        (name = "Cost", description = "Tokens and money that models have cost."),
        (name = "Templates", description = "Starting points for apps."),
        (name = "Tokens", description = "API tokens of programs."),
        (name = "Sessions", description = "Browsers that have logged in."),
        (name = "System", description = "State of the builder."),
    ),
    paths(
        apps::create, apps::list, apps::read, apps::change, apps::duplicate, apps::delete, apps::export, events::follow,
        turns::create, turns::resume, turns::list, turns::attachment,
        deployments::preview, deployments::publish, deployments::rollback, deployments::start, deployments::releases, logs::tail,
        resources::read, measurements::metrics,
        preview_links::create, preview_links::list, preview_links::revoke,
        versions::list, versions::diff, versions::restore,
        files::list, files::read, files::write, files::delete, files::lock, files::unlock,
        file_sets::search, file_sets::move_files,
        runs::create, runs::list, runs::log,
        jobs::read, jobs::cancel, jobs::events,
        templates::list,
        models::list, models::read, models::choose, usage::all, usage::of_app,
        tokens::create, tokens::list, tokens::revoke,
        sessions::list, sessions::end, sessions::end_all,
        system::healthz, system::readyz, system::metrics,
    ),
    components(schemas(Problem, crate::output::level::LogLevel)),
    modifiers(&Common),
)]
struct Document;

/// Response types that always contain all of their fields; missing values are null.
const WHOLE: &[&str] = &[
    "App",
    "AppList",
    "EnvironmentStatus",
    "EnvironmentUsage",
    "File",
    "FileList",
    "MeasuredInterval",
    "Measurements",
    "RequestNumbers",
    "AppModel",
    "Attachment",
    "Job",
    "Model",
    "ModelList",
    "PreviewLink",
    "PreviewLinkList",
    "Question",
    "Release",
    "ReleaseList",
    "FoundLine",
    "Run",
    "RunList",
    "SearchResult",
    "Session",
    "SessionList",
    "Template",
    "TemplateList",
    "Token",
    "TokenList",
    "Turn",
    "TurnList",
    "Version",
    "VersionList",
];

/// Parts that all calls share: authentication and errors.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let about = format!("A browser that has logged in; over https the cookie is `{HOST_SESSION_COOKIE}`.");
        let session = ApiKey::Cookie(ApiKeyValue::with_description(SESSION_COOKIE, about.as_str()));
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let none: [&str; 0] = [];
        document.security =
            Some(vec![SecurityRequirement::new("session", none), SecurityRequirement::new("token", none)]);

        for name in WHOLE {
            if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(*name) {
                object.required = object.properties.keys().cloned().collect();
            }
        }

        let problem = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
        let problem = ResponseBuilder::new()
            .description(
                "Error. Any call can fail with 503: `busy` when the builder has too much work of \
                this kind (`Retry-After` says when to try again), `too_slow` when the work took longer than \
                 allowed.",
            )
            .content("application/problem+json", problem)
            .build();
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().filter_map(Option::as_mut) {
                operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
                // Names of handlers are the same in several groups, so operation ids need the group.
                let group = operation.tags.iter().flatten().next().map(|tag| tag.to_lowercase().replace(' ', "_"));
                if let (Some(group), Some(id)) = (group, &mut operation.operation_id) {
                    *id = format!("{group}_{id}");
                }
                // Bytes are not an array of numbers, so they get no schema.
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    body.content.iter_mut().for_each(without_schema);
                }
                for response in operation.responses.responses.values_mut() {
                    if let RefOr::T(response) = response {
                        response.content.iter_mut().for_each(without_schema);
                    }
                }
            }
        }
    }
}

/// Removes the schema of bytes, which are not an array of numbers.
fn without_schema((kind, content): (&String, &mut RefOr<Content>)) {
    if let (RefOr::T(content), "application/octet-stream" | "application/gzip") = (content, kind.as_str()) {
        content.schema = None;
    }
}

static JSON: LazyLock<String> =
    LazyLock::new(|| Document::openapi().to_pretty_json().expect("the document is made of strings"));

/// The document as JSON.
pub fn json() -> &'static str {
    &JSON
}

/// Answers with the document.
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], json()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_documented_and_every_documented_call_exists() {
        let routed: BTreeSet<_> = super::super::calls()
            .into_iter()
            .map(|(method, path, ..)| format!("{method} {}", path.replace("{*", "{")))
            .collect();
        let document: serde_json::Value = serde_json::from_str(json()).expect("JSON");
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            documented.extend(
                item.as_object().expect("operations").keys().map(|method| format!("{} {path}", method.to_uppercase())),
            );
        }
        assert_eq!(routed, documented);
    }

    #[test]
    fn every_call_has_a_unique_name() {
        let names: Vec<_> =
            json().split("\"operationId\": \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(names.len(), super::super::calls().len());
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        for name in WHOLE {
            assert!(Document::openapi().components.expect("some").schemas.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn every_referenced_schema_exists() {
        let document: serde_json::Value = serde_json::from_str(json()).expect("JSON");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for name in json().split("#/components/schemas/").skip(1) {
            let name = name.split('"').next().expect("a name");
            assert!(schemas.contains_key(name), "{name}");
        }
    }

    #[test]
    fn the_document_matches_its_snapshot() {
        insta::assert_snapshot!(json());
    }
}
