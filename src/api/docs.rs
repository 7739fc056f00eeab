//! Pages at `/docs`, generated from the OpenAPI document; they load nothing from other hosts.
//!
//! They read the document as JSON, so they show what every other client gets.

use std::sync::LazyLock;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use super::openapi;
use crate::domain::HostName;
use crate::error::{AppError, AppResult};
use crate::services::Services;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(openapi::json()).expect("the document is valid JSON"));

/// Sample values of path parameters in examples.
const SAMPLES: [(&str, &str); 3] = [("{app}", "brisk-otter"), ("{id}", "17"), ("{path}", "public/index.html")];
const SAMPLE_VERSION: &str = "3f786850e387550fdab836ed7e6dc881de23001b";

/// The page and its style.
pub(super) fn router() -> Router<Services> {
    Router::new().route("/docs", get(page)).route("/docs/style.css", get(style))
}

async fn page(State(services): State<Services>, headers: HeaderMap) -> AppResult<Response> {
    let base = services.url(&HostName::Builder);
    let page = DocsPage::new(&DOCUMENT, &base, services.password_is_set(), theme(&headers));
    let html = page.render().map_err(|error| AppError::internal(&error))?;
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "private, no-cache")], html).into_response())
}

/// The theme that the user chose on the builder's pages, unless it is the system's.
fn theme(headers: &HeaderMap) -> Option<&'static str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let chosen =
        cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix("slipway_theme="))?;
    ["light", "dark"].into_iter().find(|theme| *theme == chosen)
}

async fn style() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, include_str!("../../static/built/docs.css"))
}

/// The page with every call and its description.
#[derive(Template)]
#[template(path = "docs/index.html")]
struct DocsPage {
    theme: Option<&'static str>,
    base: String,
    password: bool,
    about: Vec<Vec<Words>>,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
}

struct Group {
    name: String,
    anchor: String,
    about: String,
    calls: Vec<Call>,
}

struct Call {
    anchor: String,
    method: String,
    path: String,
    summary: String,
    about: Vec<Words>,
    parameters: Vec<Field>,
    body: Option<Body>,
    answers: Vec<Answer>,
    curl: String,
}

struct Body {
    media: String,
    required: bool,
    about: String,
    fields: Vec<Field>,
}

struct Answer {
    status: String,
    about: Vec<Words>,
    media: Vec<String>,
    kind: Option<Kind>,
}

/// A named schema.
struct Shape {
    name: String,
    about: Vec<Words>,
    fields: Vec<Field>,
    values: Vec<String>,
}

/// A parameter, or a property of an object.
struct Field {
    name: String,
    place: String,
    kind: Kind,
    required: bool,
    about: Vec<Words>,
}

/// The type of a value: a word, or a link to a schema.
#[derive(Debug, Default, PartialEq, Eq)]
struct Kind {
    before: &'static str,
    name: String,
    is_shape: bool,
    after: String,
}

/// A part of a description: text, or code between backticks.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    text: String,
    code: bool,
}

fn words(text: &str) -> Vec<Words> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(at, part)| Words { text: part.to_owned(), code: at % 2 == 1 }).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn objects<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value[key].as_object().into_iter().flatten()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn anchor(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

impl DocsPage {
    fn new(document: &Value, base: &str, password: bool, theme: Option<&'static str>) -> Self {
        let groups = list(document, "tags").map(|tag| {
            let name = text(tag, "name");
            let calls = objects(document, "paths").flat_map(|(path, item)| {
                let operations = item.as_object().into_iter().flatten();
                operations
                    .filter(|(_, operation)| list(operation, "tags").any(|tag| tag == name))
                    .map(move |(method, operation)| Call::new(document, base, password, path, method, operation))
            });
            Group {
                name: name.to_owned(),
                anchor: anchor(name),
                about: text(tag, "description").to_owned(),
                calls: calls.collect(),
            }
        });
        Self {
            theme,
            base: base.to_owned(),
            password,
            about: text(&document["info"], "description").split("\n\n").map(words).collect(),
            groups: groups.collect(),
            shapes: objects(&document["components"], "schemas")
                .map(|(name, schema)| Shape::new(name, schema))
                .collect(),
        }
    }
}

impl Call {
    fn new(document: &Value, base: &str, password: bool, path: &str, method: &str, operation: &Value) -> Self {
        let parameters = list(operation, "parameters").map(|parameter| Field {
            name: text(parameter, "name").to_owned(),
            place: text(parameter, "in").to_owned(),
            kind: Kind::of(&parameter["schema"]),
            required: parameter["required"] == true,
            about: words(text(parameter, "description")),
        });
        let body = objects(&operation["requestBody"], "content").next().map(|(media, content)| Body {
            media: media.clone(),
            required: operation["requestBody"]["required"] == true,
            about: text(&operation["requestBody"], "description").to_owned(),
            fields: resolved(document, &content["schema"]).map(fields).unwrap_or_default(),
        });
        let answers = objects(operation, "responses").map(|(status, response)| Answer {
            status: if status == "default" { "else".to_owned() } else { status.clone() },
            about: words(text(response, "description")),
            media: objects(response, "content").map(|(media, _)| media.clone()).collect(),
            kind: objects(response, "content")
                .next()
                .map(|(_, content)| Kind::of(&content["schema"]))
                .filter(|kind| kind.is_shape),
        });
        Self {
            anchor: text(operation, "operationId").replace('_', "-"),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(operation, "summary").trim_end_matches('.').to_owned(),
            about: words(text(operation, "description")),
            parameters: parameters.collect(),
            body,
            answers: answers.collect(),
            curl: curl(document, base, password, path, method, operation),
        }
    }
}

impl Shape {
    fn new(name: &str, schema: &Value) -> Self {
        // A choice between objects is shown as the fields of each alternative.
        let parts = list(schema, "oneOf").chain(list(schema, "allOf"));
        let fields = fields(schema).into_iter().chain(parts.flat_map(fields)).collect();
        Self {
            name: name.to_owned(),
            about: words(text(schema, "description")),
            fields,
            values: list(schema, "enum").filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

fn fields(schema: &Value) -> Vec<Field> {
    objects(schema, "properties")
        .map(|(name, property)| Field {
            name: name.clone(),
            place: String::new(),
            kind: Kind::of(property),
            required: list(schema, "required").any(|required| required == name),
            about: words(text(property, "description")),
        })
        .collect()
}

/// The schema behind a reference, which may be nullable.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let schema = list(schema, "oneOf").find(|choice| choice["type"] != "null").unwrap_or(schema);
    match schema["$ref"].as_str() {
        Some(name) => document["components"]["schemas"].get(name.rsplit('/').next()?),
        None => Some(schema),
    }
}

impl Kind {
    fn of(schema: &Value) -> Self {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
            return Self { name, is_shape: true, ..Self::default() };
        }
        let or_null = |mut kind: Self| {
            kind.after.push_str(" or null");
            kind
        };
        let mut choices = list(schema, "oneOf").filter(|choice| choice["type"] != "null");
        if let (Some(choice), None) = (choices.next(), choices.next()) {
            return or_null(Self::of(choice));
        }
        let is_nullable = list(schema, "type").any(|kind| kind == "null");
        let name =
            schema["type"].as_str().or_else(|| list(schema, "type").filter_map(Value::as_str).find(|t| *t != "null"));
        let kind = match (name.unwrap_or("bytes"), schema["format"].as_str()) {
            ("array", _) => Self { before: "list of ", ..Self::of(&schema["items"]) },
            ("string", Some("date-time")) => Self { name: "time".to_owned(), ..Self::default() },
            (name, _) => Self { name: name.to_owned(), ..Self::default() },
        };
        if is_nullable { or_null(kind) } else { kind }
    }
}

/// A curl command for a call.
fn curl(document: &Value, base: &str, password: bool, path: &str, method: &str, operation: &Value) -> String {
    let mut address = path.to_owned();
    if path.contains("/versions/{id}") {
        address = address.replace("{id}", SAMPLE_VERSION);
    }
    for (name, sample) in SAMPLES {
        address = address.replace(name, sample);
    }
    let answers = &operation["responses"];
    let mut line = String::from("curl");
    if answers.to_string().contains("text/event-stream") && path.ends_with("/events") {
        line.push_str(" -N");
    }
    if answers["200"]["content"].get("application/gzip").is_some() {
        line.push_str(" -o brisk-otter.tar.gz");
    }
    if method != "get" {
        line.push_str(" -X ");
        line.push_str(&method.to_uppercase());
    }
    let is_open = list(operation, "security").any(|way| way.as_object().is_some_and(serde_json::Map::is_empty));
    if password && !is_open {
        line.push_str(" -H \"Authorization: Bearer $SLIPWAY_TOKEN\"");
    }
    match objects(&operation["requestBody"], "content").next() {
        Some((media, content)) if media == "application/json" => {
            let body = resolved(document, &content["schema"]).map(sample).unwrap_or_default();
            line.push_str(" \\\n  -H 'Content-Type: application/json' \\\n  -d '");
            line.push_str(&Value::Object(body).to_string());
            line.push_str("' \\\n ");
        }
        Some(_) => line.push_str(" --data-binary @index.html"),
        None => {}
    }
    format!("{line} {base}{address}")
}

/// The fields of an object that have an example.
fn sample(schema: &Value) -> serde_json::Map<String, Value> {
    let examples = objects(schema, "properties").filter_map(|(name, property)| Some((name, property.get("example")?)));
    examples.map(|(name, example)| (name.clone(), example.clone())).collect()
}

#[cfg(test)]
mod tests {
    use scraper::{Html, Selector};

    use super::*;

    fn page() -> Html {
        let page = DocsPage::new(&DOCUMENT, "http://builder.localhost:8080", true, None);
        Html::parse_document(&page.render().expect("renders"))
    }

    fn all(html: &Html, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).expect("a selector");
        html.select(&selector).map(|element| element.text().collect::<String>()).collect()
    }

    #[test]
    fn every_call_is_on_the_page_once_with_an_example() {
        let html = page();
        let calls = super::super::calls().len();
        assert_eq!(all(&html, ".call").len(), calls);
        let lines = all(&html, ".call pre.curl");
        assert_eq!(lines.len(), calls);
        let create =
            lines.iter().find(|line| line.contains("-X POST") && line.ends_with("/api/v1/apps")).expect("there");
        assert!(create.contains("Authorization: Bearer $SLIPWAY_TOKEN"), "{create}");
        assert!(create.contains(r#""name":"brisk-otter""#), "{create}");
        assert!(lines.contains(&"curl http://builder.localhost:8080/healthz".to_owned()));
    }

    #[test]
    fn every_link_has_a_target_on_the_page() {
        let html = page();
        let ids: Vec<_> = html
            .select(&Selector::parse("[id]").expect("a selector"))
            .filter_map(|element| element.value().id().map(str::to_owned))
            .collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "an id occurs twice");
        for link in html.select(&Selector::parse("a[href^='#']").expect("a selector")) {
            let target = link.value().attr("href").expect("there").trim_start_matches('#');
            assert!(ids.iter().any(|id| id == target), "{target}");
        }
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts_and_has_no_scripts() {
        let html = page();
        assert!(all(&html, "script, iframe, [style], [onclick], img").is_empty());
        let loaded = Selector::parse("[src], link[href]").expect("a selector");
        for element in html.select(&loaded) {
            let address = element.value().attr("src").or(element.value().attr("href")).expect("one of them");
            assert!(address.starts_with('/') && !address.starts_with("//"), "{address}");
        }
    }

    #[test]
    fn types_are_described_in_words() {
        let kind = |json: &str| {
            let kind = Kind::of(&serde_json::from_str(json).expect("JSON"));
            format!("{}{}{}", kind.before, kind.name, kind.after)
        };
        assert_eq!(kind(r#"{"type":["string","null"],"format":"date-time"}"#), "time or null");
        assert_eq!(
            kind(r##"{"oneOf":[{"type":"null"},{"$ref":"#/components/schemas/JobError"}]}"##),
            "JobError or null"
        );
        assert_eq!(kind(r##"{"type":"array","items":{"$ref":"#/x/App"}}"##), "list of App");
        assert_eq!(kind("null"), "bytes");
        assert_eq!(
            words("a `b` c"),
            [("a ", false), ("b", true), (" c", false)].map(|(text, code)| Words { text: text.into(), code })
        );
    }
}
