//! What an app's own OpenAPI document says of an operation: its parameters, and an example of its body.
//!
//! The document is foreign text: references in it may go in circles, so depth and size of what is read are bounded. Pure.

use serde_json::{Map, Value};

/// A parameter of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// A part of the path; else of the query.
    pub in_path: bool,
    /// The operation needs it.
    pub required: bool,
    /// A value to begin with; empty if the document names none.
    pub example: String,
    /// Its type.
    pub about: String,
}

/// Maximum nesting of an example, references included.
const DEPTH_MAX: usize = 8;
/// Maximum number of values in an example.
const VALUES_MAX: usize = 200;
/// Maximum number of parameters of an operation.
const PARAMETERS_MAX: usize = 40;

/// The parameters of an operation in its path and its query: its own, and those that its path declares for all operations.
/// One that is only in the path's text is a text.
pub(super) fn parameters(document: &Value, path: &str, shared: &Value, operation: &Value) -> Vec<Parameter> {
    let mut parameters: Vec<Parameter> = Vec::new();
    let declared = [&operation["parameters"], shared];
    for parameter in declared.into_iter().filter_map(Value::as_array).flatten() {
        let parameter = resolved(document, parameter);
        let in_path = match parameter["in"].as_str() {
            Some("path") => true,
            Some("query") => false,
            _ => continue,
        };
        let Some(name) = parameter["name"].as_str() else { continue };
        if parameters.len() == PARAMETERS_MAX
            || parameters.iter().any(|known| known.name == name && known.in_path == in_path)
        {
            continue;
        }
        let schema = resolved(document, &parameter["schema"]);
        let example = [&parameter["example"], &schema["example"], &schema["examples"][0], &schema["default"]];
        parameters.push(Parameter {
            name: name.to_owned(),
            in_path,
            required: in_path || parameter["required"] == true,
            example: example.into_iter().find_map(as_text).unwrap_or_default(),
            about: kind(document, schema),
        });
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let name = name.split(':').next().unwrap_or(name);
        if !parameters.iter().any(|known| known.in_path && known.name == name) && parameters.len() < PARAMETERS_MAX {
            let (example, about) = (String::new(), String::new());
            parameters.push(Parameter { name: name.to_owned(), in_path: true, required: true, example, about });
        }
        rest = after;
    }
    parameters.sort_by_key(|parameter| !parameter.in_path);
    parameters
}

/// An example of an operation's JSON body, as text; none if it takes none.
pub(super) fn body(document: &Value, method: &str, operation: &Value) -> Option<String> {
    if !matches!(method, "post" | "put" | "patch" | "delete") {
        return None;
    }
    let body = resolved(document, &operation["requestBody"]);
    let Some(json) = body["content"].as_object().and_then(|content| content.get("application/json")) else {
        // An operation that declares no body may read one all the same.
        return (method != "delete").then(|| "{}".to_owned());
    };
    let given = [
        &json["example"],
        &json["examples"].as_object().and_then(|all| all.values().next()).unwrap_or(&Value::Null)["value"],
    ];
    let mut left = VALUES_MAX;
    let example = given
        .into_iter()
        .find(|value| !value.is_null())
        .cloned()
        .unwrap_or_else(|| example(document, &json["schema"], DEPTH_MAX, &mut left));
    serde_json::to_string_pretty(&example).ok()
}

/// A value that fits a schema: its example or default, else one of its type.
fn example(document: &Value, schema: &Value, depth: usize, left: &mut usize) -> Value {
    let schema = resolved(document, schema);
    if depth == 0 || *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    let given = [&schema["example"], &schema["examples"][0], &schema["default"], &schema["const"], &schema["enum"][0]];
    if let Some(value) = given.into_iter().find(|value| !value.is_null()) {
        return value.clone();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            if let Value::Object(part) = example(document, part, depth - 1, left) {
                whole.extend(part);
            }
        }
        return Value::Object(whole);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null")) {
            return example(document, first, depth - 1, left);
        }
    }
    match type_of(schema) {
        "object" => {
            let mut properties = Map::new();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                // What is beyond the limits is left out.
                if depth == 1 || *left == 0 {
                    break;
                }
                properties.insert(name.clone(), example(document, schema, depth - 1, left));
            }
            Value::Object(properties)
        }
        "array" => Value::Array(vec![example(document, &schema["items"], depth - 1, left)]),
        "integer" | "number" => schema.get("minimum").filter(|least| least.is_number()).cloned().unwrap_or(0.into()),
        "boolean" => false.into(),
        "string" => match schema["format"].as_str() {
            Some("date") => "2026-01-31",
            Some("date-time") => "2026-01-31T12:00:00Z",
            Some("time") => "12:00:00",
            Some("email") => "someone@example.org",
            Some("uri") => "https://example.org/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            _ => "text",
        }
        .into(),
        _ => Value::Null,
    }
}

fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        _ if schema["properties"].is_object() => "object",
        _ => "",
    }
}

/// The type of a parameter in a word or two.
fn kind(document: &Value, schema: &Value) -> String {
    let choices = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    let chosen = choices.and_then(|all| all.iter().find(|one| one["type"] != "null"));
    let schema = chosen.map_or(schema, |one| resolved(document, one));
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().filter_map(as_text).take(8).collect::<Vec<_>>().join(" or ");
    }
    match type_of(schema) {
        "integer" => "whole number",
        "string" => "text",
        "boolean" => "true or false",
        other => other,
    }
    .to_owned()
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What a reference within the document leads to; else the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let mut value = value;
    for _ in 0..DEPTH_MAX {
        let Some(pointer) = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else {
            return value;
        };
        value = document.pointer(pointer).unwrap_or(&Value::Null);
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As FastAPI writes it.
    fn document() -> Value {
        json!({"components": {"schemas": {
            "Item": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "examples": ["rope"]},
                "price": {"type": "number", "minimum": 1},
                "tags": {"type": "array", "items": {"type": "string"}},
                "maker": {"anyOf": [{"$ref": "#/components/schemas/Maker"}, {"type": "null"}]},
            }},
            "Maker": {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}, "of": {"$ref": "#/components/schemas/Maker"}}},
        }}})
    }

    #[test]
    fn a_body_is_shown_by_an_example_of_its_schema() {
        let operation = json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}});
        let body = body(&document(), "post", &operation).expect("it takes one");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["name"], &body["price"], &body["tags"]), (&json!("rope"), &json!(1), &json!(["text"])));
        assert_eq!(body["maker"]["mail"], "someone@example.org");
        assert!(super::body(&document(), "get", &operation).is_none());
        assert_eq!(super::body(&document(), "post", &json!({})).as_deref(), Some("{}"));
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let mut document = document();
        let wide: Map<String, Value> =
            (0..60).map(|n| (format!("p{n}"), json!({"$ref": "#/components/schemas/Wide"}))).collect();
        document["components"]["schemas"]["Wide"] = json!({"type": "object", "properties": wide});
        document["components"]["schemas"]["Loop"] = json!({"$ref": "#/components/schemas/Loop"});
        for name in ["Wide", "Loop"] {
            let schema = json!({"$ref": format!("#/components/schemas/{name}")});
            let operation = json!({"requestBody": {"content": {"application/json": {"schema": schema}}}});
            let body = body(&document, "post", &operation).expect("it takes one");
            assert!(body.len() < 32 * 1024, "{} bytes", body.len());
        }
    }

    #[test]
    fn parameters_have_their_types_and_examples() {
        let shared = json!([{"name": "lang", "in": "query", "schema": {"enum": ["en", "de"], "default": "en"}}]);
        let operation = json!({"parameters": [
            {"name": "q", "in": "query", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            {"name": "item_id", "in": "path", "required": true, "schema": {"type": "integer"}},
            {"name": "x-key", "in": "header", "schema": {"type": "string"}},
        ]});
        let found = parameters(&document(), "/items/{item_id}/{part:path}", &shared, &operation);
        let words: Vec<String> = found
            .iter()
            .map(|one| format!("{} {} {} “{}” {}", one.name, one.in_path, one.required, one.example, one.about))
            .collect();
        assert_eq!(
            words,
            [
                "item_id true true “” whole number",
                "part true true “” ",
                "q false false “” text",
                "lang false false “en” en or de",
            ]
        );
    }
}
