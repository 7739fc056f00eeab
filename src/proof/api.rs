//! Checks an API by its own OpenAPI document: calls each operation that needs no parameters once.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Asker, Question, Smoke, asked, health};
use crate::domain::SmokeCheck;

/// The path of the document.
const DOCUMENT: &str = "/openapi.json";
/// Maximum size of the document in bytes. Parsing time is linear in it.
const DOCUMENT_MAX: usize = 1024 * 1024;
/// Maximum number of calls.
const CALLS_MAX: usize = 50;
/// Concurrent calls: an app has half a processor.
const AT_ONCE: usize = 4;

pub(super) async fn check(asker: &Asker, smoke: &Smoke<'_>, checks: &mut Vec<SmokeCheck>) {
    checks.push(health(asker, smoke, &[]).await);
    let mut document = None;
    let question = Question { body_max: DOCUMENT_MAX, ..Question::get(DOCUMENT) };
    let described = asked(asker, smoke, "description", question, |answer| {
        document = serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| answer.status == 200);
        match (answer.status, &document) {
            (200, Some(_)) => Ok(None),
            (500.., _) => Err(format!("It answered {}.", answer.status)),
            _ => Ok(Some("The app describes no calls, so only its health was checked.".to_owned())),
        }
    });
    checks.push(described.await);
    let calls = document.as_ref().map(calls).unwrap_or_default();
    let calls: Vec<&String> = calls.iter().filter(|path| *path != smoke.health && *path != DOCUMENT).collect();
    for some in calls.iter().take(CALLS_MAX).collect::<Vec<_>>().chunks(AT_ONCE) {
        let asks: Vec<_> = some.iter().map(|path| call(asker, smoke, path)).collect();
        checks.extend(join_all(asks).await);
    }
    if calls.len() > CALLS_MAX {
        checks.push(SmokeCheck::not_asked(calls.len() - CALLS_MAX, CALLS_MAX, "calls"));
    }
}

async fn call(asker: &Asker, smoke: &Smoke<'_>, path: &str) -> SmokeCheck {
    // Only the status counts; some calls return an endless stream.
    let question = Question { body_max: 2048, body_wait: Duration::from_millis(300), ..Question::get(path) };
    asked(asker, smoke, "endpoint", question, |answer| match answer.status {
        status @ 500.. => Err(format!("It answered {status}.")),
        _ => Ok(None),
    })
    .await
}

/// The paths with a `GET` without required parameters.
fn calls(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .filter(|(path, item)| {
            let needs = |parameters: &Value| {
                let mut all = parameters.as_array().into_iter().flatten();
                // A referenced parameter may be required.
                all.any(|parameter| parameter["required"] == true || parameter.get("$ref").is_some())
            };
            let get = &item["get"];
            path.starts_with('/')
                && !path.contains('{')
                && get.is_object()
                && !needs(&item["parameters"])
                && !needs(&get["parameters"])
        })
        .map(|(path, _)| path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_without_required_parameters_are_found() {
        let get = |parameters: Value| json!({"get": {"parameters": parameters}});
        let document = json!({"paths": {
            "/plain": {"get": {}, "post": {}},
            "/optional": get(json!([{"name": "q", "in": "query", "required": false}])),
            "/required": get(json!([{"name": "q", "in": "query", "required": true}])),
            "/elsewhere": get(json!([{"$ref": "#/components/parameters/q"}])),
            "/items/{id}": {"get": {}},
            "/shared": {"parameters": [{"name": "t", "in": "header", "required": true}], "get": {}},
            "/only-post": {"post": {}},
            "no-slash": {"get": {}},
        }});
        assert_eq!(calls(&document), ["/optional", "/plain"]);
        assert_eq!(calls(&json!({"paths": 7})), [""; 0]);
    }
}
